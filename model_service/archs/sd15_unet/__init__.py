from model_service.archs.sd15_unet.keys import *
from model_service.archs.spec import *
def _b(c):
    from model_service.archs.sd15_unet.net import UNet
    return UNet(c)
def _t(c):
    return Signature((TensorSpec("x","FP32",("batch",c.in_channels,"height","width")),TensorSpec("timestep","FP32",("batch",)),TensorSpec("context","FP32",("batch","tokens",c.context_dim))),(TensorSpec("out","FP32",("batch",c.out_channels,"height","width")),))
ARCH=Arch("sd15_unet","unet",(),(),(),(),None,_b,_t,None,())
