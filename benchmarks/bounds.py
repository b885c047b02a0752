"""What bounds the targets that are known to be hard: said beside one that is missed.

Figures in the texts were measured on 2 cores of an AMD EPYC, as those in `benchmarks/results`.
"""

# All pieces are in the target's words -> what stands in the way.
_BOUNDS: dict[tuple[str, ...], str] = {
    ("DeepOD GOAD",): (
        "DeepOD's GOAD encodes the rows it was fitted on again in every call that scores, so the "
        "ratio grows with their number; here they are few, for its fit takes seconds as it is."
    ),
    ("first fit, cold",): (
        "A cold first fit is compilation: see its seconds beside it, and what is left with kept "
        "programs."
    ),
    ("DAGMM: compiling",): (
        "DAGMM's training program has about 290 fused loops, which LLVM compiles one by one: "
        "twenty parameters with their gradients' norms and updates, two factorisations and their "
        "derivatives, and random keys. Fewer optimisations or other generators compiled no faster "
        "or ran slower. With kept programs the wait is a quarter."
    ),
    ("Deep SVDD 30-128-64-32", "members"): (
        "Products this small reach less than the peak even alone; activations, Adam and every "
        "member's own shuffle are passes of their own."
    ),
    ("a member of 16", "pytorch autograd"): (
        "At 64 % of what both cores do in matrix products alone, this is how many times PyTorch's "
        "loop it is on this machine (472 us a step); seven and a half times would take 77 %."
    ),
    ("a member of 16", "pytorch by hand"): (
        "Gradients derived by hand leave PyTorch with the products, one flat Adam and few calls; "
        "the population's lead is both cores at 64 % of their peak."
    ),
    ("narrow: jaxad",): (
        "Networks this small cost as much to shuffle as to train, and every member has an order "
        "of its own."
    ),
    ("Deep SVDD 30-128-64-32: pytorch",): (
        "Of a step nearly four fifths are the forward and backward products and activations of "
        "128 rows (measured by leaving out guard, shuffle, gathering and Adam, all of which make "
        "the rest). They are too small for two cores to share: one alone has 86 % of the speed."
    ),
    ("DAGMM KDD: pytorch",): (
        "The autoencoder's products alone take two thirds of its step; tanh, the gradients of the "
        "biases and the mixture are element-wise work, which uses the processor badly."
    ),
    ("GOAD KDD: pytorch", "2 cores"): (
        "A step is matrix products that PyTorch's two threads share better: they are 1.4 times as "
        "fast as one, ours 1.2 times."
    ),
    ("GOAD KDD: pytorch",): (
        "A step is mostly matrix products, at which PyTorch's library is as good; what is saved "
        "is passes over memory between them."
    ),
    ("GOAD thyroid: pytorch", "2 cores"): (
        "Distances of 256 views to 256 centres are passed over in the cache: two cores make that "
        "1.4 times as fast, and PyTorch's passes over memory 1.8 times."
    ),
    ("GOAD thyroid: pytorch",): (
        "Exponentials of 256 x 256 distances a row are element-wise work for both; PyTorch's "
        "passes over memory cost less on this machine than the goal assumes."
    ),
    ("PyOD DeepSVDD, fit",): (
        "Our fit takes what the training of the paper's setting takes, see its bound; the ratio "
        "is what PyOD's own loop costs."
    ),
    ("scoring: Deep SVDD",): (
        "2.6 million rows a second are 73 GFLOP/s, 78 % of a core's peak here; four million would "
        "be more than the peak."
    ),
    ("scoring: DAGMM",): (
        "Layers of 1 to 118 units: narrow products and tanh reach a third of a core's peak."
    ),
    ("scoring: GOAD KDD",): (
        "A row takes 2 MFLOP (64 maps of 118 features, five layers for each, 64 x 64 distances): "
        "50 thousand rows a second would be more than a core's peak here, of which half is "
        "reached."
    ),
    ("autoencoder_32_64: pytorch",): (
        "Convolutions are written as matrix products of patches, which have to be laid out; "
        "PyTorch's library convolves without."
    ),
}


def bound_of(what: str) -> str | None:
    """What is known to bound a target, by its words; None where nothing is."""
    for pieces, text in _BOUNDS.items():
        if all(piece in what for piece in pieces):
            return text
    return None
