"""Models as files, and the names of classes and functions of your own in them."""

from evengrad.saving._model_file import load_model, save_model
from evengrad.saving._weights import load_weights, save_weights
from evengrad.saving.registration import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)

__all__ = [
    "CustomObjectScope", "custom_object_scope", "get_custom_objects", "get_registered_name",
    "get_registered_object", "load_model", "load_weights", "register_keras_serializable",
    "save_model", "save_weights",
]  # fmt: skip
