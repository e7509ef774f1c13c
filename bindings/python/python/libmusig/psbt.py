"""PSBTs, and descriptors of MuSig2 wallets.

A ``Psbt`` never changes: what adds to it answers with another one.
"""

from ._ffi import Descriptor, DescriptorKeys, OwnDescriptor, Psbt, PsbtInput, PsbtOutput

__all__ = ["Descriptor", "DescriptorKeys", "OwnDescriptor", "Psbt", "PsbtInput", "PsbtOutput"]
