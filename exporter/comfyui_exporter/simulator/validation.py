"""Whether ComfyUI accepts a prompt, and the errors it answers with when it does not.

Rules and words as in `validate_prompt` of ComfyUI's execution.py (0.3.64), without the check of choices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyui_exporter.simulator.node_classes import NODE_CLASSES
from comfyui_exporter.simulator.nodes import Graph, Input, is_link

Problem = dict[str, Any]
"""`{"type", "message", "details", "extra_info"}`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for a whole prompt."""

    outputs: list[str] = field(default_factory=list)
    """Output nodes that can be executed; empty: the prompt is refused."""
    error: Problem | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)
    """Also present when only some outputs are invalid; the others are then executed."""


def problem(kind: str, message: str, details: str, extra_info: Mapping[str, Any] | None = None) -> Problem:
    """An error as ComfyUI writes it."""
    return {"type": kind, "message": message, "details": details, "extra_info": dict(extra_info or {})}


def validate(graph: Graph, only: Collection[str] | None = None) -> Verdict:
    """Check a prompt; raises TypeError and the like (a 500 of ComfyUI) where it is not made of objects.

    Args:
        graph: The prompt as submitted.
        only: `partial_execution_targets`: output nodes besides which none is executed.
    """
    outputs: list[str] = []
    for node_id in graph:
        if "class_type" not in graph[node_id]:
            message = "Cannot execute because a node is missing the class_type property."
            return Verdict(error=problem("invalid_prompt", message, f"Node ID '#{node_id}'"))
        class_type = graph[node_id]["class_type"]
        node_class = NODE_CLASSES.get(class_type)
        if node_class is None:
            message = f"Cannot execute because node {class_type} does not exist."
            return Verdict(error=problem("invalid_prompt", message, f"Node ID '#{node_id}'"))
        if node_class.output_node and (only is None or node_id in only):
            outputs.append(node_id)
    if not outputs:
        return Verdict(error=problem("prompt_no_outputs", "Prompt has no outputs", ""))
    return _validate_outputs(graph, outputs)


def _validate_outputs(graph: Graph, outputs: list[str]) -> Verdict:
    good: list[str] = []
    details: list[str] = []
    node_errors: dict[str, Any] = {}
    for output in outputs:
        checked: dict[str, tuple[bool, list[Problem]]] = {}
        valid, problems = _validate_node(graph, output, checked, ())
        if valid:
            good.append(output)
            continue
        details += [f"{a_problem['message']}: {a_problem['details']}" for a_problem in problems]
        for node_id, (node_valid, node_problems) in checked.items():
            if not node_valid and node_problems:
                errors = node_errors.setdefault(
                    node_id,
                    {"errors": node_problems, "dependent_outputs": [], "class_type": graph[node_id]["class_type"]},
                )
                errors["dependent_outputs"].append(output)
    if good:
        return Verdict(good, None, node_errors)
    message = "Prompt outputs failed validation"
    return Verdict([], problem("prompt_outputs_failed_validation", message, "\n".join(details)), node_errors)


def _validate_node(
    graph: Graph, node_id: str, checked: dict[str, tuple[bool, list[Problem]]], path: tuple[str, ...]
) -> tuple[bool, list[Problem]]:
    if node_id in checked:
        return checked[node_id]
    if node_id in path:
        # ComfyUI runs into Python's recursion limit here and reports no node at all.
        return False, []
    node_class = NODE_CLASSES[graph[node_id]["class_type"]]
    inputs = graph[node_id]["inputs"]
    valid = True
    problems: list[Problem] = []
    for name, an_input in (*node_class.required.items(), *node_class.optional.items()):
        if name not in inputs:
            if name in node_class.required:
                problems.append(
                    problem("required_input_missing", "Required input is missing", name, {"input_name": name})
                )
        elif isinstance(inputs[name], list):
            found = _validate_link(graph, name, an_input, inputs[name])
            problems += found
            if not found:
                valid &= _validate_node(graph, inputs[name][0], checked, (*path, node_id))[0]
        else:
            problems += _validate_value(name, an_input, inputs[name])
    checked[node_id] = (valid and not problems, problems)
    return checked[node_id]


def _validate_link(graph: Graph, name: str, an_input: Input, value: list[Any]) -> list[Problem]:
    info = {"input_name": name, "input_config": an_input.as_list()}
    if not is_link(value):
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        return [problem("bad_linked_input", message, name, {**info, "received_value": value})]
    source, slot = value
    if source not in graph:
        trace = ['  File "ComfyUI/execution.py", line 788, in validate_inputs\n']
        details = {"exception_type": "KeyError", "traceback": trace}
        return [problem("exception_during_validation", "Exception when validating node", f"'{source}'", details)]
    received = NODE_CLASSES[graph[source]["class_type"]].returns[slot]
    if "*" not in {received, an_input.type} and received != an_input.type:
        details_text = f"{name}, received_type({received}) mismatch input_type({an_input.type})"
        extra = {**info, "received_type": received, "linked_node": value}
        return [problem("return_type_mismatch", "Return type mismatch between linked nodes", details_text, extra)]
    return []


def _validate_value(name: str, an_input: Input, value: Any) -> list[Problem]:
    info = {"input_name": name, "input_config": an_input.as_list(), "received_value": value}
    if an_input.type not in {"INT", "FLOAT"}:
        return []
    try:
        number = int(value) if an_input.type == "INT" else float(value)
    except (TypeError, ValueError) as error:
        message = f"Failed to convert an input value to a {an_input.type} value"
        details = f"{name}, {value}, {error}"
        return [problem("invalid_input_type", message, details, {**info, "exception_message": str(error)})]
    low, high = an_input.options.get("min"), an_input.options.get("max")
    if low is not None and number < low:
        return [problem("value_smaller_than_min", f"Value {number} smaller than min of {low}", name, info)]
    if high is not None and number > high:
        return [problem("value_bigger_than_max", f"Value {number} bigger than max of {high}", name, info)]
    return []
