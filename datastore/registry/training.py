"""Models: versions, and what they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from datastore.registry.intake import LOCAL
from datastore.registry.rounds import Rounds
from datastore.registry.sessions import note
from datastore.round_records import ModelVersion
from datastore.schema import ModelRow


class Training(Rounds):
    """Models."""

    def add_model(
        self,
        version: str,
        architecture: str,
        weights_sha256: str,
        by: str = LOCAL,
        *,
        parent: str | None = None,
        round_number: int | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> ModelVersion:
        """Enter a model version with the checksum of its weights; one that is there already stays as it is.

        Raises:
            ValueError: If the version is there already with other weights, or the checksum is none.
        """
        if len(weights_sha256) != 64:
            raise ValueError(f"model {version}: expected the SHA-256 of its weights, got {weights_sha256[:70]!r}")
        with self._write() as session:
            known = session.get(ModelRow, version)
            if known is not None:
                if known.weights_sha256 != weights_sha256:
                    raise ValueError(
                        f"model {version} is there already, with weights of SHA-256 {known.weights_sha256[:12]}: "
                        f"expected the same, got {weights_sha256[:12]}"
                    )
                return _to_model(known)
            row = ModelRow(
                version=version,
                architecture=architecture,
                weights_sha256=weights_sha256,
                parent=parent,
                round_number=round_number,
                metrics=metrics or {},
                created_at=datetime.now(UTC),
            )
            session.add(row)
            note(session, by, "model.added", model=version, round=round_number)
            session.flush()
            return _to_model(row)

    def models(self) -> list[ModelVersion]:
        """Every model version, the oldest first."""
        with self._read() as session:
            query = select(ModelRow).order_by(ModelRow.created_at, ModelRow.version)
            return [_to_model(row) for row in session.scalars(query)]


def _to_model(row: ModelRow) -> ModelVersion:
    return ModelVersion(
        version=row.version,
        architecture=row.architecture,
        weights_sha256=row.weights_sha256,
        parent=row.parent,
        round_number=row.round_number,
        metrics=dict(row.metrics),
        created_at=row.created_at,
        published_at=row.published_at,
    )
