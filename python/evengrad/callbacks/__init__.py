"""Callbacks: what `fit`, `evaluate` and `predict` call as they go, with Keras' names."""

from __future__ import annotations

from evengrad.callbacks.averages import SwapEMAWeights
from evengrad.callbacks.backup import BackupAndRestore
from evengrad.callbacks.base import Callback
from evengrad.callbacks.callback_list import CallbackList
from evengrad.callbacks.csv_logger import CSVLogger
from evengrad.callbacks.doctor import Doctor
from evengrad.callbacks.early_stopping import EarlyStopping
from evengrad.callbacks.history import History
from evengrad.callbacks.lambda_callback import LambdaCallback
from evengrad.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from evengrad.callbacks.model_checkpoint import ModelCheckpoint
from evengrad.callbacks.progress import ProgbarLogger
from evengrad.callbacks.tensorboard import TensorBoard
from evengrad.callbacks.terminate_on_nan import TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "Doctor",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]


def __getattr__(name: str) -> object:
    from evengrad.errors import explain_missing

    raise AttributeError(explain_missing(name, __name__))
