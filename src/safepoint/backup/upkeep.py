"""What goes on beside the stream: slots on the other servers, and the canary on the primary."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from safepoint.backup.canary import Canary
from safepoint.backup.periodic import Periodic
from safepoint.backup.slots import SLOT_SECONDS, SlotKeeper

if TYPE_CHECKING:
    from safepoint.backup.receiver import WalReceiver


class Upkeep:
    """A context in which the threads of a receiver's upkeep run."""

    def __init__(self, receiver: WalReceiver) -> None:
        self._receiver = receiver
        self._canary = Canary()
        self._threads: list[Periodic] = []

    def __enter__(self) -> None:
        receiver = self._receiver
        if len(receiver.servers) > 1:
            keeper = SlotKeeper(
                receiver.servers,
                receiver.slot_name,
                acknowledged=lambda: receiver.acknowledged,
                source=lambda: receiver.source,
                promoted=self._promoted,
            )
            self._add(keeper.turn, min(SLOT_SECONDS, receiver.ship_seconds))
        if receiver.canary_seconds is not None:
            self._add(self._sing, receiver.canary_seconds)
        for thread in self._threads:
            thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.stop()
        self._canary.close()

    def _add(self, work: Callable[[], None], seconds: float) -> None:
        self._threads.append(Periodic(work, seconds=seconds, observer=self._receiver.observer))

    def _promoted(self) -> None:
        self._receiver.is_overtaken = True

    def _sing(self) -> None:
        source = self._receiver.source
        self._canary.sing(None if source is None else source[0])
