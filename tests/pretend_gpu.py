"""A device that is not the CPU, on every machine: "pretend" holds its numbers in the CPU's memory, and refuses what
CUDA refuses.

    device = pretend_gpu.start()                     # torch.device("pretend", 0)
    torch.ones(2, device=device) + torch.ones(2)    # RuntimeError: ... at least two devices ...

What it shares with a graphics card: a tensor of it and one of the CPU do not mix, 0-dimensional ones and the indices
of x[...] aside; .numpy() is refused; convolutions, matrix products, attention and sums of float16 are computed in
float32 and rounded to float16 once, infinite above 65504; dtypes that a kernel does not mix are refused; autocast,
GradScaler, backward, inference_mode, deepcopy and pickle work. What it can not show: a card's kernels and their
last digits, asynchronous work and its races, streams, speed, fragmented memory, libraries' workspace.

`peak_bytes` counts the tensors alive on it at once, each storage once, in its own dtype: what a card holds at least.

Only tests use this file, and it alone in the course touches what torch calls experimental or keeps private.
"""

import functools
import threading
import weakref

import numpy as np
import torch
import torch.utils._device
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
DEVICE = None  # torch.device("pretend", 0), once started
aten = torch.ops.aten

# Computed in float32, as the cards do: everything that adds up many products or many numbers.
WIDENED = {
    "addmm",
    "addmv",
    "addbmm",
    "baddbmm",
    "bmm",
    "mm",
    "mv",
    "dot",
    "convolution",
    "convolution_backward",
    "native_group_norm",
    "native_group_norm_backward",
    "native_layer_norm",
    "native_layer_norm_backward",
    "native_batch_norm",
    "native_batch_norm_backward",
    "_softmax",
    "_safe_softmax",
    "_softmax_backward_data",
    "_log_softmax",
    "_log_softmax_backward_data",
    "mean",
    "sum",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "linalg_vector_norm",
    "norm",
    "cumsum",
    "logsumexp",
    "mse_loss",
    "mse_loss_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool2d_backward",
    "upsample_bilinear2d",
    "upsample_bilinear2d_backward",
    "_upsample_bilinear2d_aa",
    "upsample_bicubic2d",
}
ONE_DTYPE = {"native_group_norm", "native_layer_norm"}  # the CPU's kernels mix float16 and float32, a card's do not
JOINING = {"cat", "stack"}  # the two whose 0-dimensional tensors have to be on the card too
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
MAKERS = (
    "arange",
    "arange.start",
    "arange.start_step",
    "empty.memory_format",
    "empty_strided",
    "eye",
    "eye.m",
    "fft_fftfreq",
    "full",
    "hann_window",
    "hann_window.periodic",
    "linspace",
    "ones",
    "rand",
    "rand.generator",
    "randint",
    "randint.low",
    "randint.generator",
    "randint.low_generator",
    "randn",
    "randn.generator",
    "randperm",
    "randperm.generator",
    "scalar_tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
)
CAST_DOWN = ("addmm", "baddbmm", "bmm", "conv1d", "conv2d", "linear", "matmul", "mm", "scaled_dot_product_attention")
CAST_UP = (
    "layer_norm",
    "group_norm",
    "mse_loss",
    "softmax.int",
    "log_softmax.int",
    "sum",
    "sum.dim_IntList",
    "exp",
    "log",
    "pow.Tensor_Scalar",
)


class PretendTensor(torch.Tensor):
    """A tensor on the device. raw: its numbers, a tensor on the CPU of the same shape, strides and dtype."""

    __slots__ = ("raw", "_place")
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw):
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.shape, strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=DEVICE
        )
        made.raw, made._place = raw, Place.of(raw)
        return made

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        return run(op, *args, **(kwargs or {}))

    # What goes round the dispatcher

    @property
    def data(self):
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, other):
        if not isinstance(other, PretendTensor):
            raise TypeError(f"a tensor on {self.device} can not take the data of one on {other.device}")
        torch.Tensor.data.__set__(self, other)
        self.raw, self._place = other.raw, other._place

    def __getitem__(self, index):
        return torch.Tensor.__getitem__(self, _index(index))

    def __setitem__(self, index, value):
        torch.Tensor.__setitem__(self, _index(index), value)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            if not self.is_leaf:
                raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
            with torch.no_grad():
                copied = self.detach().clone(memory_format=torch.preserve_format)
            copied.__dict__.update(self.__dict__)  # such as that it is a Parameter
            memo[id(self)] = copied.requires_grad_(self.requires_grad)
            copied.grad = None if self.grad is None else self.grad.clone()
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return _rebuilt, (self.raw.detach(), self.requires_grad, dict(self.__dict__))

    def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
        made = torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device)
        return made.requires_grad_(requires_grad)

    def numpy(self, *, force=False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            "to host memory first."
        )

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def tolist(self):
        return self.raw.tolist()

    def data_ptr(self):
        return self.raw.data_ptr()

    def untyped_storage(self):
        return self.raw.untyped_storage()

    def __format__(self, spec):
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    def __repr__(self, *, tensor_contents=None):
        said = repr(self.raw.detach())
        at = said.rfind(", dtype=")
        at = len(said) - 1 if at < 0 else at
        return f"{said[:at]}, device='{self.device}'{', requires_grad=True' * self.requires_grad}{said[at:]}"


def _rebuilt(raw, requires_grad, attributes):
    start()
    made = PretendTensor(raw)
    made.__dict__.update(attributes)
    return made.requires_grad_(requires_grad)


def _index(index):
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    if isinstance(index, (list, range)):
        return torch.tensor([_item(one) for one in index], dtype=None if len(index) else torch.int64)
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index


def _item(one):
    return one.item() if isinstance(one, torch.Tensor) and one.dim() == 0 else one


# How much of it is in use


class Place:
    """The memory of one storage. It is free again when no tensor on the device stands there."""

    __slots__ = ("key", "size", "__weakref__")
    known, lock, used, peak = {}, threading.RLock(), 0, 0

    @classmethod
    def of(cls, raw):
        storage = raw.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        with cls.lock:
            there = cls.known.get(key)
            there = there and there()
            if there is None:
                there = cls()
                there.key, there.size = key, size
                cls.known[key] = weakref.ref(there)
                cls.used += size
                cls.peak = max(cls.peak, cls.used)
            return there

    def __del__(self):
        with Place.lock:
            Place.used -= self.size
            there = Place.known.get(self.key)
            if there is not None and there() is None:
                del Place.known[self.key]


def bytes_in_use():
    """Bytes of all tensors alive on the device now."""
    return Place.used


def peak_bytes():
    """The most that was in use at once since `reset_peak`, in bytes."""
    return Place.peak


def reset_peak():
    """Begin to count anew, from what is in use now."""
    with Place.lock:
        Place.peak = Place.used


# Every operation comes through here


def unwrapped(value):
    if isinstance(value, PretendTensor):
        return value.raw
    if isinstance(value, (list, tuple)):
        return type(value)(map(unwrapped, value)) if not hasattr(value, "_fields") else value
    return value


def tensors_in(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def run(op, *args, **kwargs):
    """One operation of torch, on the numbers below. Its result is on the device, unless it is asked for elsewhere."""
    name, special = way_of(op)
    if special is not None:
        return special(op, *args, **kwargs)
    given = [*tensors_in(args), *tensors_in(kwargs.values())]
    if len(given) > 1:
        refuse_mixed(name, args, given)
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{kwargs['generator'].device}'")
    raw, options = unwrapped(args), {key: unwrapped(value) for key, value in kwargs.items()}
    if options.get("device") is not None:
        options["device"] = torch.device("cpu")
    if options.get("pin_memory"):
        raise RuntimeError("only a tensor of the CPU can be pinned")
    out = widened(op, raw, options) if name in WIDENED else op(*raw, **options)
    same = {id(one.raw): one for one in given if isinstance(one, PretendTensor)}
    if op.is_view and torch.is_inference_mode_enabled() and not given[0].is_inference():
        with torch.inference_mode(False):  # a view of a tensor that can be trained on is one, too
            return wrapped(out, same, op)
    return wrapped(out, same, op)


@functools.cache
def way_of(op):
    """(name of the operation, the function that does it here; None: the CPU's kernel)."""
    name = op._schema.name.removeprefix("aten::")
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd")
    if name not in SPECIAL and composite:
        return name, decomposed  # met where nothing is differentiated: in inference_mode
    return name, SPECIAL.get(name)


def decomposed(op, *args, **kwargs):
    return op._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)


def wrapped(out, given, op):
    """The result as tensors on the device. given: {id(raw): tensor}; what was changed in place is given back."""
    if isinstance(out, torch.Tensor):
        same = given.get(id(out))
        if same is None:
            return PretendTensor(out)
        if same.shape != out.shape:
            same.data = PretendTensor(out)  # squeeze_ and its like, as in quantile: the shape is read off anew
        return same
    if isinstance(out, (list, tuple)):
        return type(out)(wrapped(one, given, op) for one in out)
    return out


def refuse_mixed(name, args, given):
    """RuntimeError where tensors of two devices meet, as on a card."""
    if name in INDEXING and isinstance(args[0], PretendTensor):
        given = [args[0], *tensors_in(args[2:3])]  # its indices may be the CPU's
    here = [isinstance(one, PretendTensor) for one in given]
    foreign = [tensor for one, tensor in zip(here, given) if not one and (tensor.dim() or name in JOINING)]
    if any(here) and foreign:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{DEVICE} and {foreign[0].device}! (when checking the arguments of {name})"
        )


def widened(op, raw, options):
    """The operation in float32, its results rounded to float16; as it is where not all of its fractions are float16."""
    floats = {one.dtype for one in (*tensors_in(raw), *tensors_in(options.values())) if one.is_floating_point()}
    if len(floats) > 1 and op._schema.name.removeprefix("aten::") in ONE_DTYPE:
        raise RuntimeError(f"expected one scalar type, but found {' and '.join(sorted(map(str, floats)))} ({op})")
    if floats != {torch.float16} or options.get("out") is not None:
        return op(*raw, **options)
    wanted = options.get("dtype")
    if wanted == torch.float16:
        options = {**options, "dtype": torch.float32}
    out = op(*cast(raw, torch.float32), **{key: cast(value, torch.float32) for key, value in options.items()})
    return cast(out, torch.float16) if wanted in (None, torch.float16) else out


def cast(value, dtype):
    """Tensors of fractions, alone or in lists, in another dtype; all else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, (list, tuple)):
        return type(value)(cast(one, dtype) for one in value)
    return value


def _to_copy(op, tensor, *, device=None, **options):
    out = op(unwrapped(tensor), **options)
    return out if device is not None and torch.device(device).type == "cpu" else PretendTensor(out)


def _copy_(op, target, source, *options):
    unwrapped(target).copy_(unwrapped(source))
    return target


def _copy_from(op, source, target, *options):
    unwrapped(target).copy_(unwrapped(source))
    return target


def _item_of(op, tensor):
    return tensor.raw.item()


def _set_data(op, tensor, other):
    tensor.data = other


class Attention(torch.autograd.Function):
    """Attention as a fused kernel: all of its scores are never in memory at once. Of queries (B, h, n, d)."""

    @staticmethod
    def forward(ctx, query, key, value, mask, causal, scale):
        given = [one for one in (query, key, value, mask) if one is not None]
        refuse_mixed("scaled_dot_product_attention", given, given)
        if not query.dtype == key.dtype == value.dtype:
            raise RuntimeError(
                "Expected query, key, and value to have the same dtype, but got "
                f"{query.dtype}, {key.dtype} and {value.dtype}"
            )
        q, k, v = (one.raw.float().contiguous() for one in (query, key, value))
        if mask is not None:
            mask = mask.raw if isinstance(mask, PretendTensor) else mask
            mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else mask.float()
        out, sums = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)
        ctx.save_for_backward(query, key, value, PretendTensor(out), PretendTensor(sums))
        ctx.mask, ctx.causal, ctx.scale = mask, causal, scale
        return PretendTensor(out.to(query.dtype))

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, sums = (one.raw for one in ctx.saved_tensors)
        grads = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(one.float().contiguous() for one in (grad.raw, query, key, value)),
            out,
            sums,
            0.0,
            ctx.causal,
            attn_mask=ctx.mask,
            scale=ctx.scale,
        )
        return *(PretendTensor(one.to(query.dtype)) for one in grads), None, None, None


def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None, enable_gqa=False):
    """What stands in for torch.nn.functional.scaled_dot_product_attention on the device."""
    learns = attn_mask is not None and attn_mask.requires_grad
    if query.dim() == key.dim() == value.dim() == 4 and not (dropout_p or enable_gqa or learns):
        return Attention.apply(query, key, value, attn_mask, is_causal, scale)
    if not query.dtype == key.dtype == value.dtype:
        raise RuntimeError("Expected query, key, and value to have the same dtype")
    return aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]


def _same_kind(op, one, other):
    return isinstance(one, PretendTensor) == isinstance(other, PretendTensor)


def _attention(op, *args, **options):
    return attention(*args, **options)


SPECIAL = {
    "_to_copy": _to_copy,
    "copy_": _copy_,
    "_copy_from": _copy_from,
    "_copy_from_and_resize": _copy_from,
    "_local_scalar_dense": _item_of,
    "_has_compatible_shallow_copy_type": _same_kind,
    "set_data": _set_data,
    "scaled_dot_product_attention": _attention,
}


# How torch is told of it


class Backend:
    """What torch asks of the module of a device, torch.pretend."""

    is_initialized = is_available = staticmethod(lambda: True)
    current_device = staticmethod(lambda: 0)
    device_count = staticmethod(lambda: 1)
    _is_in_bad_fork = is_bf16_supported = staticmethod(lambda: False)  # as a T4
    manual_seed_all = synchronize = empty_cache = staticmethod(lambda *ignored: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.float16])
    memory_allocated = staticmethod(lambda *device: Place.used)
    max_memory_allocated = staticmethod(lambda *device: Place.peak)
    reset_peak_memory_stats = staticmethod(lambda *device: reset_peak())


@functools.cache
def start():
    """Make the device known to torch, once a process, and return it: torch.device("pretend", 0)."""
    global DEVICE, _libraries
    torch.utils._device._device_constructors()  # remembers torch.tensor as it is: `with torch.device(...)` asks for it
    _setup_privateuseone_for_python_backend(NAME, backend_module=Backend)
    DEVICE = torch.device(NAME, 0)
    every, some = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    _libraries = every, some  # for as long as the process lives
    every.fallback(run, "PrivateUse1", with_keyset=False)
    for name in MAKERS:
        some.impl(name, functools.partial(run, overload(name)), "PrivateUse1")
    some.impl("scaled_dot_product_attention", attention, "AutogradPrivateUse1")
    for names, dtype in ((CAST_DOWN, torch.float16), (CAST_UP, torch.float32)):
        for name in names:
            some.impl(name, functools.partial(autocast, overload(name), dtype), "AutocastPrivateUse1")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    torch.tensor, torch.as_tensor = _tensor(torch.tensor), _as_tensor(torch.as_tensor)
    return DEVICE


def overload(name):
    packet, _, which = name.partition(".")
    return getattr(getattr(aten, packet), which or "default")


def autocast(op, dtype, *args, **options):
    """One operation inside torch.autocast: matrix products in float16, what adds up or grows in float32."""

    def suited(value):
        if isinstance(value, (list, tuple)):
            return type(value)(map(suited, value))
        castable = isinstance(value, PretendTensor) and value.dtype in (torch.float16, torch.float32)
        return value.to(dtype) if castable else value

    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    with torch._C._ExcludeDispatchKeyGuard(keys):
        return op(*map(suited, args), **{name: suited(value) for name, value in options.items()})


def _tensor(original):
    @functools.wraps(original)
    def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
        if isinstance(data, PretendTensor):
            made = data.detach().clone().to(device=device or data.device, dtype=dtype or data.dtype)
            return made.requires_grad_(requires_grad)
        data = _items(data)
        if device is None or torch.device(device).type != NAME:
            return original(data, dtype=dtype, device=device, requires_grad=requires_grad, pin_memory=pin_memory)
        return original(data, dtype=dtype, device="cpu").to(DEVICE).requires_grad_(requires_grad)

    return tensor


def _as_tensor(original):
    @functools.wraps(original)
    def as_tensor(data, dtype=None, device=None):
        if isinstance(data, torch.Tensor):
            return data.to(device=device or data.device, dtype=dtype or data.dtype)
        made = original(_items(data), dtype=dtype, device=None if device is None else "cpu")
        return made if device is None else made.to(device)

    return as_tensor


def _items(data):
    """Lists with the numbers of 0-dimensional tensors in their places."""
    if isinstance(data, (list, tuple)):
        return [_items(one) for one in data]
    return data.tolist() if isinstance(data, PretendTensor) else data
