"""The job store: all that is kept of jobs, in one database. Its table is the truth; `states` has the diagram."""

from types import TracebackType

from qwen_image_studio.database.connection import Database, open_database
from qwen_image_studio.jobs.callers import Jobs
from qwen_image_studio.jobs.calls import Calls
from qwen_image_studio.jobs.costs import Costs
from qwen_image_studio.jobs.endings import Endings
from qwen_image_studio.jobs.events import Events
from qwen_image_studio.jobs.following import Following
from qwen_image_studio.jobs.forgetting import Forgetting
from qwen_image_studio.jobs.guests import Guests
from qwen_image_studio.jobs.images import Images
from qwen_image_studio.jobs.leases import Leases
from qwen_image_studio.jobs.limits import Allowance
from qwen_image_studio.jobs.news import Announcer, Bell, open_bell
from qwen_image_studio.jobs.outbox import Outbox
from qwen_image_studio.jobs.pictures import Pictures
from qwen_image_studio.jobs.promises import Promises
from qwen_image_studio.jobs.prompts import prompt_policy
from qwen_image_studio.jobs.queue import Queue
from qwen_image_studio.jobs.review import Reviews
from qwen_image_studio.jobs.rows import Rows
from qwen_image_studio.jobs.styles import Styles
from qwen_image_studio.jobs.tallies import Tallies
from qwen_image_studio.jobs.workers import Workers
from qwen_image_studio.settings import Settings


class JobStore:
    """The job store of one process: a class for each who uses it, over one engine."""

    def __init__(self, database: Database, bell: Bell, settings: Settings) -> None:
        self.database, self.bell = database, bell
        announcer = Announcer(bell)
        self.prompts = prompt_policy(settings)
        events = Events(database, announcer, Endings(self.prompts, settings))
        self.allowance = Allowance(database)
        """What keys and people may use."""
        self.jobs = Jobs(database, events, self.allowance, settings.queue_share)
        """What callers do."""
        self.promises = Promises(database)
        self.leases = Leases(database, events, announcer, settings)
        """What workers do."""
        self.rows = Rows(database, events)
        """What is done with the rows of batches."""
        self.images = Images(database)
        self.reviews = Reviews(database, events)
        """What reviewers do."""
        self.guests = Guests(database)
        """What bearers of links may see and do."""
        self.pictures = Pictures(database)
        """What a gallery shows."""
        self.following = Following(database)
        """What those see who follow an owner."""
        self.forgetting = Forgetting(database, events)
        self.costs = Costs(database)
        """What they have used."""
        self.workers = Workers(database)
        self.outbox = Outbox(database)
        self.calls = Calls(database)
        self.queue = Queue(database, events)
        """What operators see and steer."""
        self.tallies = Tallies(database)
        self.styles = Styles(database)

    def close(self) -> None:
        """Close the connections to the database, and the bell; what was rung last still goes out."""
        self.bell.close()
        self.database.close()

    def __enter__(self) -> "JobStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_store(settings: Settings, process: str = "command") -> JobStore:
    """Open the job store of the settings for a kind of process (`open_database`), which does so once and passes it
    on.
    """
    database = open_database(settings, process)
    return JobStore(database, open_bell(settings, database), settings)
