"""What the audit knows by name: clients, readers of the environment, calls that connect.

Data, and nothing else. A name is what a file imports it as: ``from redis import Redis`` and
``redis.Redis`` are both ``redis.Redis``.
"""

from __future__ import annotations

import re

# Constructors of objects that hold a key, an address or a connection, and keep what they read.
CLIENTS = {
    "anthropic": "Anthropic AsyncAnthropic AnthropicBedrock AnthropicVertex",
    "boto3": "client resource Session session.Session",
    "cohere": "Client ClientV2 AsyncClient",
    "elasticsearch": "Elasticsearch AsyncElasticsearch",
    "google.genai": "Client",
    "groq": "Groq AsyncGroq",
    "httpx": "Client AsyncClient",
    "kafka": "KafkaProducer KafkaConsumer",
    "langchain.chat_models": "init_chat_model",
    "langchain_anthropic": "ChatAnthropic",
    "langchain_google_genai": "ChatGoogleGenerativeAI GoogleGenerativeAIEmbeddings",
    "langchain_openai": "ChatOpenAI AzureChatOpenAI OpenAI AzureOpenAI OpenAIEmbeddings "
    "AzureOpenAIEmbeddings",
    "langfuse": "Langfuse",
    "langsmith": "Client AsyncClient client.Client async_client.AsyncClient",
    "mistralai": "Mistral",
    "MySQLdb": "connect",
    "openai": "OpenAI AsyncOpenAI AzureOpenAI AsyncAzureOpenAI",
    "opensearchpy": "OpenSearch AsyncOpenSearch",
    "pika": "BlockingConnection",
    "psycopg": "connect Connection.connect AsyncConnection.connect",
    "psycopg2": "connect",
    "psycopg_pool": "ConnectionPool AsyncConnectionPool",
    "pymongo": "MongoClient AsyncMongoClient",
    "pymysql": "connect",
    "qdrant_client": "QdrantClient AsyncQdrantClient",
    "redis": "Redis StrictRedis RedisCluster Sentinel from_url Redis.from_url "
    "sentinel.Sentinel cluster.RedisCluster asyncio.Redis asyncio.RedisCluster asyncio.from_url "
    "asyncio.Redis.from_url",
    "requests": "Session session sessions.Session",
    "slack_sdk": "WebClient",
    "sqlalchemy": "create_engine",
    "stripe": "StripeClient",
    "twilio.rest": "Client",
    "weaviate": "connect_to_local connect_to_custom connect_to_weaviate_cloud",
}
CLIENT_NAMES = frozenset(
    f"{package}.{name}" for package, names in CLIENTS.items() for name in names.split()
)

# Functions that go to the network when they are called.
TALKERS = frozenset(
    f"{package}.{name}"
    for package, names in {
        "dns": "resolver.resolve resolver.query",
        "ftplib": "FTP",
        "httpx": "get post put patch delete head options request stream",
        "imaplib": "IMAP4 IMAP4_SSL",
        "prometheus_client": "start_http_server push_to_gateway",
        "requests": "get post put patch delete head options request",
        "smtplib": "SMTP SMTP_SSL",
        "socket": "create_connection getaddrinfo gethostbyname create_server",
        "telnetlib": "Telnet",
        "tiktoken": "get_encoding encoding_for_model",
        "urllib.request": "urlopen urlretrieve",
        "websockets": "connect",
    }.items()
    for name in names.split()
)
# Methods of a client that talk to its server.
TALKING_METHODS = frozenset(
    "ping get set post put patch delete head request send execute query invoke stream batch "
    "list_buckets publish info server_info admin command".split()
)

# Called, these start a thread or a process; built, they do on their method in STARTING_METHODS.
STARTERS = frozenset(
    ("_thread.start_new_thread", "multiprocessing.Pool", "multiprocessing.Manager")
)
STARTABLE = frozenset(
    (
        "apscheduler.schedulers.background.BackgroundScheduler",
        "concurrent.futures.ProcessPoolExecutor",
        "concurrent.futures.ThreadPoolExecutor",
        "concurrent.futures.thread.ThreadPoolExecutor",
        "logging.handlers.QueueListener",
        "multiprocessing.Process",
        "multiprocessing.pool.ThreadPool",
        "threading.Thread",
        "threading.Timer",
        "watchdog.observers.Observer",
    )
)
STARTING_METHODS = frozenset(("start", "submit", "map", "apply_async"))

# Functions that read one variable; and classes whose objects read one when called or asked.
READERS = frozenset(("os.getenv", "os.getenvb", "decouple.config"))
READER_CLASSES = frozenset(
    (
        "decouple.AutoConfig",
        "decouple.Config",
        "environ.Env",
        "environ.FileAwareEnv",
        "environs.Env",
    )
)
ENVIRONMENTS = frozenset(("os.environ", "os.environb"))

# Calls that put a file's values into the environment.
LOADERS = frozenset(
    (
        "dotenv.load_dotenv",
        "dotenv.main.load_dotenv",
        "environ.Env.read_env",
        "resilience.env.load",
    )
)
LOADING_METHODS = frozenset(("read_env",))

CACHES = frozenset(
    ("functools.cache", "functools.lru_cache", "cachetools.cached", "async_lru.alru_cache")
)

WORDS = frozenset(
    name.partition(".")[0]
    for name in (*CLIENT_NAMES, *TALKERS, *STARTERS, *STARTABLE, *READERS, *READER_CLASSES)
) - {"os"} | {"environ", "getenv", "except"}
"""One of them stands in every file that does anything at import that the source can show."""

# Variables of the machine, the interpreter, Django and test tools: no configuration of a project.
# Pydantic asks for its own at every class.
_MACHINE = re.compile(
    r"(?:PYTHON|PYDANTIC_DISABLE|DEFER_PYDANTIC|LC_|XDG_|PYTEST_|COVERAGE_|VIRTUAL_ENV|RUN_MAIN|DJANGO_(?:SETTINGS_MODULE|"
    r"ALLOW_ASYNC_UNSAFE|AUTO_COMPLETE|COLORS|WATCHMAN_TIMEOUT)|RESILIENCE_ENV)\w*|HOME|PATH|PWD|"
    r"USER|LOGNAME|SHELL|TERM|TZ|LANG|LANGUAGE|TMPDIR|TEMP|TMP|COLUMNS|LINES|EDITOR|HOSTNAME|"
    r"SYSTEMROOT|APPDATA|NO_COLOR|FORCE_COLOR|CI"
)

# As a word of snake_case, of CamelCase or of CAPITALS: not in "hammock" or "Fakenham".
_SAYS_MOCK = re.compile(
    r"(?:^|_)(?:mock|fake|stub|dummy|MOCK|FAKE|STUB|DUMMY)(?:s|ed|S|ED)?(?=$|_|[A-Z0-9])"
    r"|(?:Mock|Fake|Stub|Dummy)(?:s|ed)?(?=$|_|[A-Z0-9])"
)


def is_of_the_machine(variable: str) -> bool:
    """Whether a variable configures the machine or the interpreter rather than the project."""
    return bool(_MACHINE.fullmatch(variable))


def says_mock(name: str) -> bool:
    """Whether a part of a dotted name calls itself a mock, a fake, a stub or a dummy."""
    return name.startswith("unittest.mock") or any(
        _SAYS_MOCK.search(part) for part in name.split(".")
    )
