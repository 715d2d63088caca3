from tests.engine.conftest import connect, make, quick

__all__ = ["connect", "make", "quick"]
