"""Settings of the verifiers alone, for tools that grade without a run.

python -m experiments.audit_rewards --config=configs/verifiers.py --config.seconds=2
"""

import ml_collections

from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The section `verifier` of a run; takes no argument."""
  common.parse(arg)
  return ml_collections.ConfigDict(common.verifier())
