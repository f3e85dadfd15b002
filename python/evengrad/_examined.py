"""What a model has for the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from evengrad._compiled import Compiled

if TYPE_CHECKING:
    from evengrad.doctor import CureResult
    from evengrad.doctor.report import Report
    from evengrad.models import Sequential


class Examined(Compiled):
    """The part of `Sequential` that the doctor asks and treats."""

    @property
    def _patient(self) -> Sequential:
        return cast("Sequential", self)

    def health(self) -> None:
        """Print what was watched last in training: norms of each variable, outputs of each layer.

        Series over all steps are in `history.health`, see `doctor.Health`. Of steps since the last
        `fit`, by `train_on_batch`, the figures are seen here too.

        Examples
        --------
        >>> import evengrad as keras
        >>> layer = keras.layers.Dense(1, kernel_initializer="ones", input_shape=(1,), name="dense")
        >>> model = keras.Sequential([layer], name="line")
        >>> model.compile(keras.optimizers.SGD(0.25), "mse")
        >>> history = model.fit([[1.0]], [[2.0]], verbose=0)
        >>> model.health()
        Step 1: loss 1; norms:
        variable           gradient  weight  update  update/weight
        line/dense/kernel         2     1.5     0.5          0.333
        line/dense/bias           2     0.5     0.5              1
        Outputs at step 1:
        layer  mean  spread  zeros  saturated  dead
        dense     1       0   0.0%
        """
        from evengrad.doctor import _health_table

        with self._lock:
            print(_health_table.text(self.watching.health({})))

    def diagnose(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        batch_size: int | None = None,
    ) -> Report:
        """Find out which layers, data or steps are sick, and why; nothing of the model changes.

        Before training: a few batches are passed through it. After training: its score is compared
        with that of a small healthy network on the same rows, and where it falls short, short
        trainings of copies tell causes apart. At most 1,000 of the rows are used.

        Parameters
        ----------
        x, y, sample_weight : array_like
            What it is, or is to be, trained on; as for `fit`.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Rows that it was not trained on. Default: the validation scores of the last `fit`.
        batch_size : int, optional
            Of the training. Default: that of the last `fit`, else 32.

        Returns
        -------
        Report
            Verdicts, the most likely first: none for a healthy network.

        Raises
        ------
        ValueError, TypeError
            If the model is not compiled, or the data do not fit.

        Notes
        -----
        The same model and data give the same report. `evengrad.doctor.DISEASES` lists what may be
        found; docs/doctor.md says how.

        Examples
        --------
        >>> import numpy as np
        >>> import evengrad as keras
        >>> hidden = [keras.layers.Dense(16, "relu", kernel_initializer="zeros") for _ in range(3)]
        >>> model = keras.Sequential([*hidden, keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x = np.random.default_rng(0).standard_normal((64, 4))
        >>> report = model.diagnose(x, x[:, 0])
        >>> report.healthy, report.verdicts[0].disease
        (False, 'symmetric_initialization')
        """
        from evengrad.doctor import probe

        with self._lock:
            return probe.report_on(self._patient, x, y, sample_weight, validation_data, batch_size)

    def cure(
        self,
        x: Any,
        y: Any,
        validation_data: tuple[Any, ...] | None = None,
        budget: float = 8.0,
        metric: Any = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        seed: int = 0,
    ) -> CureResult:
        """Look for the fewest changes that make the model better on rows it was not trained on.

        What `diagnose` prescribes is tried first, then a network of which everything is known to be
        healthy, then a race: many sets of changes are trained for an eighth of the epochs, on the
        same batches from the same seed, the better ones go on. Of those trained in full the fewest
        changes that are about as good as any are kept, and of these each that is not needed is
        left out. It counts as better only where that is more than luck, row by row.

        Parameters
        ----------
        x, y : array_like
            What the model is trained on; as for `fit`.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Rows to judge by. Default: a fifth of the rows, drawn, which the new models are not
            trained on. A model that was trained on them has the advantage then.
        budget : float, at least 1
            How much may be spent, in trainings like the model's. Default 8.
        metric : str, Metric or function, optional
            What is to be better. "loss", or one of which it is known in which direction. Default:
            the first such metric of `compile`, else accuracy for classes and R2 for quantities.
        epochs, batch_size : int, optional
            How the model is trained. Default: as in its last `fit`.
        sample_weight, class_weight
            As for `fit`.
        seed : int, at least 0
            Of the kernels and batches of all that is tried. Default 0.

        Returns
        -------
        CureResult
            `model`: a new one, compiled and trained; the given one, where nothing was better.
            The given model is left as it was in any case.

        Raises
        ------
        ValueError, TypeError
            If the model is not compiled, or the data or an argument do not fit.

        Notes
        -----
        A model that was never trained is compared with a twin that is. `doctor.edits.apply` makes
        the changes again, on a model that is yet to be trained. Callbacks of the user's own fit,
        such as a schedule of the learning rate, are not known here.

        Examples
        --------
        >>> import numpy as np
        >>> import evengrad as keras
        >>> keras.utils.set_random_seed(0)
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((300, 2)).astype(np.float32)
        >>> y = (np.abs(x).sum(axis=1) > 1.5).astype(np.float32)
        >>> hidden = [keras.layers.Dense(16, "relu", kernel_initializer="zeros") for _ in range(3)]
        >>> model = keras.Sequential([*hidden, keras.layers.Dense(1, "sigmoid")])
        >>> model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
        >>> history = model.fit(x[:200], y[:200], epochs=20, verbose=0)
        >>> result = model.cure(x[:200], y[:200], validation_data=(x[200:], y[200:]))
        >>> result.improved, result.after > 0.9, [edit.kind for edit in result.edits]
        (True, True, ['initializer'])
        """
        from evengrad.doctor.curing import cure

        return cure(
            self._patient, x, y, validation_data,
            budget=budget, metric=metric, epochs=epochs, batch_size=batch_size,
            sample_weight=sample_weight, class_weight=class_weight, seed=seed,
        )  # fmt: skip
