"""What a model has for files and copies of itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

from evengrad import _recording, losses, metrics, optimizers, saving
from evengrad._compiled import Compiled
from evengrad._watch import Watching

if TYPE_CHECKING:
    from evengrad.models import Sequential


_OPTIONS = "on_nonfinite", "run_eagerly", "steps_per_execution", "jit_compile"


class Saved(Compiled):
    """The part of `Sequential` that outlives the process."""

    @property
    def _whole(self) -> Sequential:
        return cast("Sequential", self)

    def locked(self) -> AbstractContextManager[Any]:
        """Keep others from training it for now."""
        return self._lock

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        zipped: bool | None = None,
        include_optimizer: bool = True,
    ) -> None:
        """Write the model to a file named "...evengrad", see `evengrad.saving.save_model`.

        Parameters
        ----------
        filepath, overwrite, zipped, include_optimizer
            As of `save_model`.
        """
        saving.save_model(self._whole, filepath, overwrite, zipped, include_optimizer)

    def save_weights(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        max_shard_size: float | None = None,
    ) -> None:
        """Write all variables to a .npz or .safetensors, see `evengrad.saving.save_weights`.

        Parameters
        ----------
        filepath, overwrite, max_shard_size
            As of `save_weights`.
        """
        saving.save_weights(self._whole, filepath, overwrite, max_shard_size)

    def load_weights(self, filepath: str | os.PathLike[str], skip_mismatch: bool = False) -> None:
        """Take weights from a file, see `evengrad.saving.load_weights`.

        Parameters
        ----------
        filepath, skip_mismatch
            As of `load_weights`.
        """
        saving.load_weights(self._whole, filepath, skip_mismatch)

    def to_json(self, **kwargs: Any) -> str:
        """Return the architecture as JSON, without weights, for `models.model_from_json`.

        Parameters
        ----------
        **kwargs
            Of `json.dumps`, as indent.

        Examples
        --------
        >>> import evengrad as keras
        >>> model = keras.Sequential([keras.layers.ReLU(input_shape=(3,))], name="small")
        >>> keras.models.model_from_json(model.to_json())
        <Sequential name=small, built=True>
        """
        from evengrad.saving._encoding import to_text
        from evengrad.saving._model_file import describe

        with saving.registration.strict():
            return to_text(describe(self._whole), **kwargs)

    # -- how it is compiled

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`, serialized; nothing before it was called."""
        if not self.compiled:
            return {}

        def described(several: Any) -> list[Any]:
            return [m if isinstance(m, str) else metrics.serialize(m) for m in several]

        return {
            "optimizer": optimizers.serialize(self.optimizer),
            "loss": None if self.loss is None else losses.serialize(self.loss),
            "metrics": described(self._metrics),
            "weighted_metrics": described(self._weighted_metrics),
            **{name: getattr(self, name) for name in _OPTIONS},
        }

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile with what `get_compile_config` returned.

        Parameters
        ----------
        config : dict
            The optimizer begins anew.
        """
        self.compile(**self.compile_arguments(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @staticmethod
    def compile_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that a configuration stands for."""
        made = dict(config)
        if made.get("optimizer") is not None:
            made["optimizer"] = optimizers.get(made["optimizer"])
        if made.get("loss") is not None:
            made["loss"] = losses.get(made["loss"])
        for several in made.keys() & {"metrics", "weighted_metrics"}:
            made[several] = [
                m if isinstance(m, str) else metrics.deserialize(m) for m in made[several] or ()
            ]
        return made

    # -- pickle and copy: locks and recordings are made anew, draws go on if they are good

    def __getstate__(self) -> dict[str, Any]:
        draws = self.draws if self.draws is not None and self.draws.good else None
        left_out: dict[str, Any] = {
            "_lock": None, "_programs": None, "_resolved": {}, "_reported": None,
            "_known_built": -1,
            "history": None, "running": None, "position": None, "passes": 0, "_fitting": False,
            "_watching": None, "watching": None,
        }  # fmt: skip
        return self.__dict__ | left_out | {"draws": draws and (draws.seed, draws.generator)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from evengrad import _random

        self.__dict__.update(state)
        self._lock, self._programs = threading.RLock(), _recording.Programs()
        self.watching = Watching()
        if state["draws"] is not None:
            self.draws = _random.draws_of(*state["draws"])
