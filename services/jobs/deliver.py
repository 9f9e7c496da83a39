"""`deliver`: sends the messages that are due; `renew`: tells each Alertmanager what is open."""

from typing import TYPE_CHECKING

from services.jobs.job import JobContext

if TYPE_CHECKING:
    from monitoring.alerts.deliveries import Sending


class DeliverSweep:
    """Each message is claimed in its row before it is sent."""

    name = "deliver"

    def run(self, context: JobContext) -> int:
        from monitoring.alerts.deliveries import deliver_due

        return deliver_due(context.engine, sending_of(context), now=context.clock.now())


class RenewSweep:
    """What is open is sent again at every tick: Alertmanager forgets what nobody renews."""

    name = "renew"

    def run(self, context: JobContext) -> int:
        from monitoring.alerts.renewal import renew

        return renew(context.engine, sending_of(context), now=context.clock.now())


def sending_of(context: JobContext) -> "Sending":
    """With what messages are sent."""
    from monitoring.alerts.deliveries import Sending

    settings = context.settings
    return Sending(
        owner=context.owner,
        secret=settings.webhook_secret,
        networks=settings.outgoing_networks,
        public_url=settings.public_url,
        give_up_after=settings.delivery_age,
    )
