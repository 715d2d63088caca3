"""A provider on loopback that speaks OpenAI's and Anthropic's wire formats, with faults on order. See docs/sandbox.md."""

from jobs.sandbox.launch import Sandbox

__all__ = ["Sandbox"]
