"""Networks: Flax Linen modules, and pure functions that initialise and apply them."""

from jaxad.networks.build import IMAGES as IMAGES
from jaxad.networks.build import TABULAR as TABULAR
from jaxad.networks.build import EncoderDecoder as EncoderDecoder
from jaxad.networks.convolution import conv2d as conv2d
from jaxad.networks.convolution import conv2d_transpose as conv2d_transpose
from jaxad.networks.dense import ACTIVATIONS as ACTIVATIONS
from jaxad.networks.dense import MLP as MLP
from jaxad.networks.dense import Dense as Dense
from jaxad.networks.dense import lay_features_first as lay_features_first
from jaxad.networks.geometry import GEOMETRIC_TRANSFORMS as GEOMETRIC_TRANSFORMS
from jaxad.networks.geometry import check_shift as check_shift
from jaxad.networks.geometry import geometric_transforms as geometric_transforms
from jaxad.networks.images import ConvDecoder as ConvDecoder
from jaxad.networks.images import ConvEncoder as ConvEncoder
from jaxad.networks.lenet import LeNetDecoder as LeNetDecoder
from jaxad.networks.lenet import LeNetEncoder as LeNetEncoder
from jaxad.networks.modules import apply as apply
from jaxad.networks.modules import calibrate as calibrate
from jaxad.networks.modules import count_parameters as count_parameters
from jaxad.networks.modules import init as init
from jaxad.networks.normalization import BatchNorm as BatchNorm
from jaxad.networks.wide_resnet import WideResNet as WideResNet
