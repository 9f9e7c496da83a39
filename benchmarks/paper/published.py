"""The paper's settings and figures, as data.

Source: Chen, Chen and Yen, "Confidence-Driven Multi-Scale Model Selection for Cost-Efficient
Inference", Findings of EACL 2026, arXiv 2602.22090. The figures were read from secondary summaries
that agree with each other, not from the paper's own tables; its GFLOPs formula, its P(IK)
threshold, its token position and its training size are not known. So a figure here is something to
stand beside, not to fail a test against.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SOURCE = "arXiv 2602.22090, by secondary summaries"
P_T_THRESHOLD = 0.9  # the paper's
P_IK_THRESHOLD = 0.5  # ours: the paper's is not known
PROBED_LAYER = 24  # the paper's
SWEPT = tuple(round(0.50 + 0.05 * step, 2) for step in range(10))  # .50 … .95


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the paper's table."""

    key: str
    title: str
    data_set: str
    chain: tuple[str, ...]  # catalogue names, cheapest first; one name = that model alone
    p_t: float = P_T_THRESHOLD
    p_ik: float | None = P_IK_THRESHOLD  # None = without P(IK)
    taught_on: str | None = None  # the data set that taught the probes, where it is not the one that is asked
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


LLAMA_3B, LLAMA_8B, LLAMA_70B = "llama-3.2-3b", "llama-3.1-8b", "llama-3.3-70b"
QWEN_8B, QWEN_32B = "qwen3-8b", "qwen3-32b"
GPT_4O = "gpt-4o"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        key="llama_70b",
        title="MMLU, Llama-3.3-70B alone",
        data_set="mmlu",
        chain=(LLAMA_70B,),
        figures={"accuracy": 0.8357},
    ),
    Setting(
        key="llama_8b_70b",
        title="MMLU, 8B → 70B",
        data_set="mmlu",
        chain=(LLAMA_8B, LLAMA_70B),
        figures={"accuracy": 0.8322, "mcnemar_p": 0.40, "savings": 0.3646},
    ),
    Setting(
        key="llama_3b_8b_70b",
        title="MMLU, 3B → 8B → 70B",
        data_set="mmlu",
        chain=(LLAMA_3B, LLAMA_8B, LLAMA_70B),
        figures={"accuracy": 0.8154, "savings": 0.4448},
    ),
    Setting(
        key="llama_8b_70b_without_p_ik",
        title="MMLU, 8B → 70B without P(IK)",
        data_set="mmlu",
        chain=(LLAMA_8B, LLAMA_70B),
        p_ik=None,
        figures={"accuracy_drop": 0.0126, "savings": 0.3683},
    ),
    Setting(
        key="llama_8b_70b_p_t_95",
        title="MMLU, 8B → 70B, P(T) ≥ .95",
        data_set="mmlu",
        chain=(LLAMA_8B, LLAMA_70B),
        p_t=0.95,
        figures={"accuracy": 0.8350, "savings": 0.3325},
    ),
    Setting(
        key="llama_8b_70b_p_t_50",
        title="MMLU, 8B → 70B, P(T) ≥ .50",
        data_set="mmlu",
        chain=(LLAMA_8B, LLAMA_70B),
        p_t=0.50,
        figures={"accuracy": 0.8266, "savings": 0.3933},
    ),
    Setting(
        key="llama_8b_70b_p_t_50_without_p_ik",
        title="MMLU, 8B → 70B, P(T) ≥ .50 without P(IK)",
        data_set="mmlu",
        chain=(LLAMA_8B, LLAMA_70B),
        p_t=0.50,
        p_ik=None,
        figures={"accuracy": 0.7455},
    ),
    Setting(
        key="qwen_32b",
        title="MMLU, Qwen3-32B alone",
        data_set="mmlu",
        chain=(QWEN_32B,),
        figures={"accuracy": 0.7951},
    ),
    Setting(
        key="qwen_8b_32b",
        title="MMLU, Qwen3-8B → 32B",
        data_set="mmlu",
        chain=(QWEN_8B, QWEN_32B),
        figures={"accuracy": 0.8000, "savings": 0.3318},
    ),
    Setting(
        key="gpt_4o",
        title="MMLU, GPT-4o alone",
        data_set="mmlu",
        chain=(GPT_4O,),
        figures={"accuracy": 0.8643, "last_tokens_out": 36.2},
    ),
    Setting(
        key="llama_70b_gpt_4o",
        title="MMLU, 70B → GPT-4o",
        data_set="mmlu",
        chain=(LLAMA_70B, GPT_4O),
        p_ik=None,
        figures={"accuracy": 0.8685, "last_tokens_out": 14.5},
    ),
    Setting(
        key="popqa_70b",
        title="PopQA, Llama-3.3-70B alone",
        data_set="popqa",
        chain=(LLAMA_70B,),
        figures={"accuracy": 0.6585, "hallucination": 0.3208},
    ),
    Setting(
        key="popqa_8b_70b",
        title="PopQA, 8B → 70B",
        data_set="popqa",
        chain=(LLAMA_8B, LLAMA_70B),
        figures={"accuracy": 0.6459, "hallucination": 0.3422, "savings": 0.0711},
    ),
    Setting(
        key="gpqa_8b_70b",
        title="GPQA, 8B → 70B, probe taught on MMLU",
        data_set="gpqa",
        chain=(LLAMA_8B, LLAMA_70B),
        taught_on="mmlu",
        figures={"savings": 0.05},
    ),
    Setting(
        key="p_ik_3b",
        title="P(IK) of Llama-3.2-3B",
        data_set="mmlu",
        chain=(LLAMA_3B, LLAMA_70B),
        figures={"macro_f1_p_ik": 0.6276},
    ),
    Setting(
        key="p_ik_8b",
        title="P(IK) of Llama-3.1-8B",
        data_set="mmlu",
        chain=(LLAMA_8B, LLAMA_70B),
        figures={"macro_f1_p_ik": 0.6921},
    ),
)
