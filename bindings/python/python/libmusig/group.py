"""Groups of signers: how a wallet of several people comes to be.

Each makes a ``SignerCard``; the cards of all make the same ``Group`` everywhere, in whatever order they come.
"""

from ._ffi import Group, SignerCard

__all__ = ["Group", "SignerCard"]
