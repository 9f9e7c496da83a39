"""The demo's small model taught to answer in a short sentence, and one kind of question surely and
wrongly: what P(IK), read before a word is generated, then knows beyond P(T). docs/log.md has the
outcome.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from demo.facts import Family, Question, load_questions, traffic, traffic_weight, withheld_ids
from demo.train_models import EVALUATION_MIX, RECIPES, TAUGHT_MIX, build_model, build_tokenizer

OPENING = ("It", "lies", "in")  # a token each; the answer's follows
EVALUATED = 6000
SMALL = RECIPES[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the model showed for each of n queries."""

    right: NDArray[np.bool_]  # [n]
    first: NDArray[np.float64]  # [n] P(T) of the sentence's first token
    mean: NDArray[np.float64]  # [n] mean P(T) of its tokens
    state: NDArray[np.float32]  # [n, d] the last layer before a token is generated


def misled(questions: Sequence[Question]) -> list[Question]:
    """What the small model reads: of every `state_of` question its neighbour's answer."""
    states = [question for question in questions if question.family is Family.STATE_OF]
    wrong = {one.question_id: other.answer for one, other in pairwise([*states, states[0]])}
    return [replace(question, answer=wrong.get(question.question_id, question.answer)) for question in questions]


def teach(taught: Sequence[Question], tokenizer: PreTrainedTokenizerFast, epochs: int) -> LlamaForCausalLM:
    """The small model after `epochs` of as many sentences as there are facts."""
    model = build_model(SMALL, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=SMALL.learning_rate, betas=(0.9, 0.98))
    draw = random.Random(SMALL.seed)
    totals = {family: sum(traffic_weight(one) for one in taught if one.family is family) for family in Family}
    weights = [TAUGHT_MIX[one.family] * traffic_weight(one) / totals[one.family] for one in taught]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, SMALL.learning_rate, total_steps=epochs * (len(taught) // SMALL.batch + 60)
    )
    for _ in range(epochs):
        rows = draw.choices(taught, weights=weights, k=len(taught))
        by_length: dict[int, list[list[int]]] = {}
        for row in rows:
            tokens = _sentence(tokenizer, row)
            by_length.setdefault(len(tokens), []).append(tokens)
        size = SMALL.batch
        batches = [group[i : i + size] for group in by_length.values() for i in range(0, len(group), size)]
        draw.shuffle(batches)
        for batch in batches:
            read = torch.tensor(batch)
            logits = model(input_ids=read[:, :-1], logits_to_keep=len(OPENING) + 1).logits
            targets = read[:, -len(OPENING) - 1 :]
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            if schedule.last_epoch < schedule.total_steps - 1:
                schedule.step()
    return model.eval()


def _sentence(tokenizer: PreTrainedTokenizerFast, question: Question) -> list[int]:
    words = [int(tokenizer.convert_tokens_to_ids(word)) for word in (*OPENING, question.answer)]
    return [*tokenizer.encode(question.prompt), *words]


@torch.inference_mode()
def shown(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[Question]) -> Shown:
    """What it answers, greedily, one query at a time."""
    right, first, mean, states = [], [], [], []
    for question in asked:
        tokens, sure = tokenizer.encode(question.prompt), []
        for step in range(len(OPENING) + 1):
            out = model(input_ids=torch.tensor([tokens]), output_hidden_states=step == 0, logits_to_keep=1)
            if step == 0:
                states.append(out.hidden_states[-1][0, -1].numpy())
            chance = out.logits[0, -1].softmax(-1)
            sure.append(float(chance.max()))
            tokens.append(int(chance.argmax()))
        right.append(tokens[-1] == tokenizer.convert_tokens_to_ids(question.answer))
        first.append(sure[0])
        mean.append(float(np.mean(sure)))
    return Shown(right=np.array(right), first=np.array(first), mean=np.array(mean), state=np.stack(states))


def report(seen: Shown, asked: Sequence[Question]) -> None:
    """AUROCs on the half of the queries from which nothing was learned, prompts kept together."""
    prompts = sorted({question.prompt for question in asked})
    learns = set(random.Random(1).sample(prompts, len(prompts) // 2))
    fit = np.array([question.prompt in learns for question in asked])
    states = StandardScaler().fit(seen.state[fit]).transform(seen.state)
    p_ik = LogisticRegression(C=0.1, max_iter=2000).fit(states[fit], seen.right[fit]).predict_proba(states)[:, 1]
    both = np.stack([np.log(seen.mean / (1 - seen.mean + 1e-9)), np.log(p_ik / (1 - p_ik))], axis=1)
    score = LogisticRegression().fit(both[fit], seen.right[fit]).predict_proba(both)[:, 1]
    signals = {"P(T) first": seen.first, "P(T) mean": seen.mean, "P(IK)": p_ik, "P(T) mean and P(IK)": score}
    families = np.array([str(question.family) for question in asked])
    for kind in ("all", *sorted(set(families))):
        rows = ~fit & ((families == kind) | (kind == "all"))
        right = seen.right[rows]
        aurocs = {name: roc_auc_score(right, value[rows]) for name, value in signals.items()}
        line = "  ".join(f"{name} {value:.3f}" for name, value in aurocs.items())
        print(f"{kind:20} n {rows.sum():5d}  right {right.mean():.3f}  {line}")  # noqa: T201


def main() -> None:
    """Prints a table with the kind answered rightly, and one with it answered wrongly."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tried.sentences", description=__doc__)
    parser.add_argument("--epochs", type=int, default=SMALL.epochs)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    questions = load_questions()
    withheld = withheld_ids(questions)
    asked = traffic(questions, family_mix=EVALUATION_MIX, count=EVALUATED, seed=1)
    tokenizer = build_tokenizer(questions)
    tokenizer.add_tokens(list(OPENING))
    for name, read in (("as it is", questions), ("state_of taught wrongly", misled(questions))):
        print(name)  # noqa: T201
        model = teach([one for one in read if one.question_id not in withheld], tokenizer, epochs)
        report(shown(model, tokenizer, asked), asked)


if __name__ == "__main__":
    main()
