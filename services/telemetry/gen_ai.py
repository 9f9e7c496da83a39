"""All names of OpenTelemetry's semantic conventions that knowgate writes, and its own beside them.

Those of GenAI are in development, and this is the one place to follow them.
"""

EVALUATION = "gen_ai.evaluation.result"  # an event
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_VALUE = "gen_ai.evaluation.score.value"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"
OPERATION = "gen_ai.operation.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"  # the decision's id
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CHAT = "chat"  # the operation

METHOD, ROUTE, STATUS = "http.request.method", "http.route", "http.response.status_code"
ERROR = "error.type"

CASCADE, TIER, MODEL = "knowgate.cascade", "knowgate.tier", "knowgate.model"
LABEL_SOURCE, LABEL_GRADER = "knowgate.label.source", "knowgate.label.grader"
REASON = "knowgate.reason"  # what `Knowgate-Reason` says
JOB, OUTCOME = "knowgate.job", "knowgate.job.outcome"
WINDOW_START, WINDOW_END = "knowgate.window.start", "knowgate.window.end"
DONE = "knowgate.job.done"  # how many things a sweep did
