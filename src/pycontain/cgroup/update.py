"""placeholder until the branch of live changes is merged"""
