package graphpipe

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unsafe"
)

// Type is what the elements of a tensor are, by its number in the protocol.
type Type uint8

// The types. Null stands in metadata only, for any type.
const (
	Null Type = iota
	Uint8
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Uint64
	Int64
	Float16
	Float32
	Float64
	String
	Bool
	BFloat16
)

var types = [...]struct {
	name string
	size int
}{
	{"null", 0}, {"uint8", 1}, {"int8", 1}, {"uint16", 2}, {"int16", 2}, {"uint32", 4},
	{"int32", 4}, {"uint64", 8}, {"int64", 8}, {"float16", 2}, {"float32", 4}, {"float64", 8},
	{"string", 0}, {"bool", 1}, {"bfloat16", 2},
}

func (t Type) String() string {
	if int(t) < len(types) {
		return types[t].name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Size is the number of bytes of an element; 0 for Null and String.
func (t Type) Size() int {
	if int(t) < len(types) {
		return types[t].size
	}
	return 0
}

// Element is what a tensor can be made of, and read as.
type Element interface {
	bool | uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64 | int64 |
		float32 | float64 | F16 | BF16 | string
}

// TypeOf is the type of tensors of T.
func TypeOf[T Element]() Type {
	var zero T
	switch any(zero).(type) {
	case bool:
		return Bool
	case uint8:
		return Uint8
	case int8:
		return Int8
	case uint16:
		return Uint16
	case int16:
		return Int16
	case uint32:
		return Uint32
	case int32:
		return Int32
	case uint64:
		return Uint64
	case int64:
		return Int64
	case float32:
		return Float32
	case float64:
		return Float64
	case F16:
		return Float16
	case BF16:
		return BFloat16
	default:
		return String
	}
}

// Tensor is a typed array of any rank: row-major elements, as the bytes that are sent (little-endian)
// or, of type String, as strings, which may hold any bytes. An empty shape is that of a scalar.
type Tensor struct {
	Type    Type
	Shape   []int64
	Data    []byte
	Strings []string
}

// NewTensor makes a tensor of elements, which it shares; without a shape, a vector of them. A
// shape that does not fit is refused by the call that sends the tensor.
func NewTensor[T Element](elements []T, shape ...int) Tensor {
	if shape == nil {
		shape = []int{len(elements)}
	}
	tensor := Tensor{Type: TypeOf[T](), Shape: make([]int64, len(shape))}
	for i, n := range shape {
		tensor.Shape[i] = int64(n)
	}
	if texts, ok := any(elements).([]string); ok {
		tensor.Strings = texts
	} else {
		tensor.Data = inOrder(bytesOf(elements), tensor.Type.Size())
	}
	return tensor
}

// Scalar makes a tensor without dimensions.
func Scalar[T Element](value T) Tensor {
	return NewTensor([]T{value}, []int{}...)
}

// Data gives the elements of a tensor: where they lie, if they are aligned for T, as those of our
// servers' answers are; a copy of them otherwise. T has to be the tensor's type.
func Data[T Element](tensor Tensor) ([]T, error) {
	if wanted := TypeOf[T](); tensor.Type != wanted {
		return nil, Errorf(ErrInvalidInput, "the tensor is %v, not %v", tensor, wanted)
	}
	if err := tensor.Check(); err != nil {
		return nil, err
	}
	if tensor.Type == String {
		return any(tensor.Strings).([]T), nil
	}
	size := tensor.Type.Size()
	n := len(tensor.Data) / size
	if n == 0 {
		return []T{}, nil
	}
	if tensor.Type == Bool {
		for _, b := range tensor.Data {
			if b > 1 {
				return nil, Errorf(ErrProtocol, "a bool is %d, neither 0 nor 1", b)
			}
		}
	}
	at := unsafe.Pointer(unsafe.SliceData(tensor.Data))
	if isLittleEndian && uintptr(at)%uintptr(size) == 0 {
		return unsafe.Slice((*T)(at), n), nil
	}
	elements := make([]T, n)
	copy(bytesOf(elements), inOrder(tensor.Data, size))
	return elements, nil
}

// String is the type and shape, as in "float32[1,3]".
func (t Tensor) String() string {
	return shapeText(t.Type, t.Shape)
}

func shapeText(of Type, shape []int64) string {
	return of.String() + strings.ReplaceAll(fmt.Sprint(shape), " ", ",")
}

// Check says why a tensor cannot be sent, if so.
func (t Tensor) Check() error {
	return t.check("the tensor")
}

// check refuses a tensor whose elements are not those that its type and shape ask for.
func (t Tensor) check(what string) error {
	if t.Type == Null || int(t.Type) >= len(types) {
		return Errorf(ErrInvalidInput, "%s is of %v; a type of elements is wanted", what, t.Type)
	}
	if len(t.Shape) > maxRank {
		return Errorf(ErrInvalidInput, "%s has %d dimensions; the limit is %d", what, len(t.Shape),
			maxRank)
	}
	n, ok := product(t.Shape)
	if !ok {
		return Errorf(ErrInvalidInput, "%s is %v, which no tensor can have", what, t)
	}
	held, wanted, of := len(t.Data), n, "bytes"
	if t.Type == String {
		held, of = len(t.Strings), "strings"
	} else if wanted > math.MaxInt/8 {
		return Errorf(ErrInvalidInput, "%s is %v, which is too large", what, t)
	} else {
		wanted *= t.Type.Size()
	}
	if held != wanted {
		return Errorf(ErrInvalidInput, "%s holds %d %s, but %v needs %d", what, held, of, t, wanted)
	}
	return nil
}

// product is the number of elements of a shape, unless a dimension is negative or it overflows.
func product(shape []int64) (int, bool) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 || (d > 0 && n > math.MaxInt/d) {
			return 0, false
		}
		n *= d
	}
	return int(n), true
}

func bytesOf[T Element](elements []T) []byte {
	var zero T
	first := (*byte)(unsafe.Pointer(unsafe.SliceData(elements)))
	return unsafe.Slice(first, len(elements)*int(unsafe.Sizeof(zero)))
}

// --- the order of bytes -------------------------------------------------------------------

var isLittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// inOrder turns elements of this machine into little-endian ones, or back.
func inOrder(data []byte, size int) []byte {
	if isLittleEndian || size == 1 {
		return data
	}
	return reversed(data, size)
}

// reversed is a copy with the bytes of each element in the other order.
func reversed(data []byte, size int) []byte {
	turned := make([]byte, len(data))
	for i := range data {
		turned[i-i%size+size-1-i%size] = data[i]
	}
	return turned
}
