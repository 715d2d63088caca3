"""A provider on loopback that speaks OpenAI's and Anthropic's wire formats, with faults on order.

    python -m jobs.sandbox --port 8765 --data DIR            # or manage.py sandbox
    with Sandbox(folder, seconds=0.2) as sb: sb.openai_url, sb.anthropic_url, sb.control("end")

Any non-empty key works, except one that contains `wrong`. Orders stand in the model's name, `gpt-6-luna+errors=5%,missing=2,once`;
wire faults, time and the log of what ran are behind `/_control`. The whole grammar: docs/sandbox.md.
"""

from jobs.sandbox.launch import Sandbox

__all__ = ["Sandbox"]
