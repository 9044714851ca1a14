"""The errors of the client and the modules around it, each with a sentence that says what to do.

The tree::

    ClientError
    +-- Refused              a parameter cannot be used (found here, or a 4xx of the server)
    |   +-- InputNotFetched  an input file could not be downloaded from Dify
    |   +-- JobCancelled     somebody cancelled the job
    |   +-- NotFound         404: the server has nothing of that id
    |   +-- TooOld           the server is of an earlier version, which does not know what was asked for
    +-- KeyRefused           401, 403: the key is missing, wrong or not allowed to do this
    +-- QueueFull            429 for as long as the time budget lasted
    |   +-- LimitReached     a limit of the API key, or of a person of it
    +-- Unreachable          no connection: DNS, refused, timeout, TLS, proxy
    +-- WrongServer          something else answers at server_url
    +-- Unavailable          503 for as long as the time budget lasted, or another 5xx
    |   +-- StillLoading     the server is starting (only the check of the credentials raises it)
    |   +-- JobFailed        the job ended as failed
    +-- StillRunning         the time budget ended; the job goes on at the server
"""


class ClientError(Exception):
    """The base of all errors here; ``str()`` is a sentence for a person."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, param: str = "") -> None:
        super().__init__(message)
        self.param = param
        """The server's name of the parameter at fault; empty where it names none."""
        self.retry_after_s = retry_after_s
        """Seconds after which the same can be tried again; None where trying again cannot help."""


class Refused(ClientError):
    """The request cannot be done as it was made."""


class InputNotFetched(Refused):
    """An input file could not be downloaded."""


class JobCancelled(Refused):
    """Somebody cancelled the job."""


class NotFound(Refused):
    """The server has nothing with that id."""


class TooOld(Refused):
    """The server is of an earlier version, which does not know what was asked for."""


class KeyRefused(ClientError):
    """The API key is missing, wrong or not allowed to do this."""


class QueueFull(ClientError):
    """The server takes no more jobs now."""


class LimitReached(QueueFull):
    """A limit of the API key, or of a person of it, is reached."""


class Unreachable(ClientError):
    """No connection to the server."""


class WrongServer(ClientError):
    """Something else answers at the address."""


class Unavailable(ClientError):
    """The server is there but cannot work."""


class StillLoading(Unavailable):
    """The server is starting."""


class JobFailed(Unavailable):
    """The job ended as failed."""


class StillRunning(ClientError):
    """The time budget ended before the job did."""
