"""The files of a tenant's root that its host decides: through descriptors, with nothing followed out of the root.

``family.apply`` does it to a root that is a descriptor; ``carry`` finds that descriptor, whether the tenant runs or
not; ``steps`` says when, and with what. All but ``steps`` import the standard library only: they run in processes
that begin as the commands do.
"""
