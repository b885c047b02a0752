"""How accurate: suites that measure detection, and what they share.

`detectors` is the one table of detectors, `references` holds those that are not ours, `statistics`
compares detectors over sets, `bundled_sets` holds the sets of `quick`, and `reference_numbers` the
figures that others published. The modules ``paper_*`` are the parts of the suite `papers`.
"""
