"""`deliver`: sends the alert messages that are due."""

from services.jobs.job import JobContext


class DeliverSweep:
    """Each message is claimed in its row before it is sent."""

    name = "deliver"

    def run(self, context: JobContext) -> int:
        from monitoring.alerts.deliveries import deliver_due

        return deliver_due(
            context.engine,
            owner=context.owner,
            secret=context.settings.webhook_secret,
            now=context.clock.now(),
            networks=context.settings.webhook_networks,
            give_up_after=context.settings.delivery_age,
        )
