// Package compat has the surface of GraphPipe's Go library of 2018, for programs that use it: they
// change the import to
//
//	graphpipe "graphpipe.dev/graphpipe/compat"
//
// Its functions are thin layers over package graphpipe, which new programs use. As in 2018 a URI
// has port 80 by default, and types that are newer come as those that stood for them: uint8 for
// bool, float32 for bfloat16. Errors are those of package graphpipe, with the server's words. Not
// kept is what showed FlatBuffers' own builder: NativeTensor.Build gives a graphpipe.Tensor.
package compat

import (
	"math"
	"reflect"

	"graphpipe.dev/graphpipe"
)

// NativeTensor is a tensor as programs of 2018 fill it. Type is the number of a graphpipe.Type.
type NativeTensor struct {
	Type       uint8
	Shape      []int64
	StringVals []string
	Data       []byte
}

// InitSimple takes a number, a string, or slices or arrays of them, nested for each dimension.
func (nt *NativeTensor) InitSimple(value any) error {
	v := reflect.ValueOf(value)
	shape, of, err := shapeOf(v)
	if err != nil {
		return err
	}
	flat := reflect.MakeSlice(reflect.SliceOf(of), 0, 0)
	if len(shape) == 1 && v.Kind() == reflect.Slice && v.Type().Elem() == of {
		flat = v // sent from where it lies
	} else if flat, err = flatten(flat, v, shape); err != nil {
		return err
	}
	tensor, err := tensorOf(flat.Interface())
	if err != nil {
		return err
	}
	tensor.Shape = shape
	*nt = native(tensor)
	return nil
}

// InitWithData takes row-major little-endian elements, as many bytes as shape and type ask for.
func (nt *NativeTensor) InitWithData(data []byte, shape []int64, dt uint8) error {
	return nt.take(NativeTensor{Type: dt, Shape: shape, Data: data})
}

// InitWithStringVals takes row-major strings, as many as the shape asks for.
func (nt *NativeTensor) InitWithStringVals(stringVals []string, shape []int64) error {
	return nt.take(NativeTensor{Type: uint8(graphpipe.String), Shape: shape, StringVals: stringVals})
}

func (nt *NativeTensor) take(with NativeTensor) error {
	_, err := with.Build()
	if err == nil {
		*nt = with
	}
	return err
}

// Build is the tensor as package graphpipe has it, or why it is none.
func (nt *NativeTensor) Build() (graphpipe.Tensor, error) {
	tensor := graphpipe.Tensor{Type: graphpipe.Type(nt.Type), Shape: nt.Shape, Data: nt.Data,
		Strings: nt.StringVals}
	return tensor, tensor.Check()
}

func native(tensor graphpipe.Tensor) NativeTensor {
	return NativeTensor{Type: uint8(tensor.Type), Shape: tensor.Shape, Data: tensor.Data,
		StringVals: tensor.Strings}
}

// NativeTensorToNative is a tensor as slices that are nested for each dimension, [][]float32 for
// one of rank 2; a scalar as its value. The innermost slices are views of the tensor's data.
func NativeTensorToNative(nt *NativeTensor) (any, error) {
	tensor, err := nt.Build()
	if err != nil {
		return nil, err
	}
	flat, err := elementsOf(tensor)
	if err != nil {
		return nil, err
	}
	v := reflect.ValueOf(flat)
	if len(nt.Shape) == 0 {
		return v.Index(0).Interface(), nil
	}
	if n := nRows(nt.Shape); n > max(v.Len(), maxEmptyRows) {
		return nil, graphpipe.Errorf(graphpipe.ErrInvalidInput, "%v would be %d slices of nothing",
			tensor, n)
	}
	return nest(v, nt.Shape).Interface(), nil
}

// A tensor without elements may still have any number of rows.
const maxEmptyRows = 1 << 16

// nRows is the largest number of slices at any depth, but for the innermost.
func nRows(shape []int64) int {
	most, n := int64(0), int64(1)
	for _, d := range shape[:len(shape)-1] {
		if d > 0 && n > math.MaxInt/d {
			return math.MaxInt
		}
		n *= d
		most = max(most, n)
	}
	return int(most)
}

// --- nested slices ------------------------------------------------------------------------

// shapeOf is the shape of nested slices by their first elements, and the type of the innermost.
func shapeOf(v reflect.Value) ([]int64, reflect.Type, error) {
	shape := []int64{}
	for {
		for v.IsValid() && v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		if !v.IsValid() {
			return nil, nil, graphpipe.Errorf(graphpipe.ErrInvalidInput, "nil is no tensor")
		}
		if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
			return shape, v.Type(), nil
		}
		shape = append(shape, int64(v.Len()))
		if v.Len() > 0 {
			v = v.Index(0)
		} else {
			v = reflect.Zero(v.Type().Elem())
		}
	}
}

// flatten appends the elements of v, which has to have this shape everywhere.
func flatten(to, v reflect.Value, shape []int64) (reflect.Value, error) {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if len(shape) == 0 {
		if !v.IsValid() || v.Type() != to.Type().Elem() {
			return to, graphpipe.Errorf(graphpipe.ErrInvalidInput, "the elements are not all of %v",
				to.Type().Elem())
		}
		return reflect.Append(to, v), nil
	}
	if !v.IsValid() || (v.Kind() != reflect.Slice && v.Kind() != reflect.Array) ||
		int64(v.Len()) != shape[0] {
		return to, graphpipe.Errorf(graphpipe.ErrInvalidInput,
			"the nested slices are not all of the same length")
	}
	if row := v.Type(); len(shape) == 1 && row.Kind() == reflect.Slice && row.Elem() == to.Type().Elem() {
		return reflect.AppendSlice(to, v), nil
	}
	var err error
	for i := 0; i < v.Len() && err == nil; i++ {
		to, err = flatten(to, v.Index(i), shape[1:])
	}
	return to, err
}

// nest cuts flat elements into nested slices.
func nest(flat reflect.Value, shape []int64) reflect.Value {
	if len(shape) == 1 {
		return flat
	}
	of := flat.Type()
	for range shape[1:] {
		of = reflect.SliceOf(of)
	}
	n := int(shape[0])
	rows := reflect.MakeSlice(of, n, n)
	for i := 0; i < n; i++ {
		size := flat.Len() / n
		rows.Index(i).Set(nest(flat.Slice3(i*size, (i+1)*size, (i+1)*size), shape[1:]))
	}
	return rows
}

// --- types --------------------------------------------------------------------------------

// kind is a type that Go has, both ways.
type kind struct {
	slice    reflect.Type
	tensor   func(flat any) graphpipe.Tensor
	elements func(graphpipe.Tensor) (any, error)
}

func kindOf[T graphpipe.Element]() kind {
	return kind{reflect.TypeOf([]T(nil)),
		func(flat any) graphpipe.Tensor { return graphpipe.NewTensor(flat.([]T)) },
		func(tensor graphpipe.Tensor) (any, error) { return graphpipe.Data[T](tensor) }}
}

var kinds = map[graphpipe.Type]kind{
	graphpipe.Uint8: kindOf[uint8](), graphpipe.Int8: kindOf[int8](),
	graphpipe.Uint16: kindOf[uint16](), graphpipe.Int16: kindOf[int16](),
	graphpipe.Uint32: kindOf[uint32](), graphpipe.Int32: kindOf[int32](),
	graphpipe.Uint64: kindOf[uint64](), graphpipe.Int64: kindOf[int64](),
	graphpipe.Float32: kindOf[float32](), graphpipe.Float64: kindOf[float64](),
	graphpipe.String: kindOf[string](),
}

func tensorOf(flat any) (graphpipe.Tensor, error) {
	for _, k := range kinds {
		if reflect.TypeOf(flat) == k.slice {
			return k.tensor(flat), nil
		}
	}
	return graphpipe.Tensor{}, graphpipe.Errorf(graphpipe.ErrInvalidInput, "%v cannot be sent; what "+
		"can: integers with their size in the name, float32, float64, string",
		reflect.TypeOf(flat).Elem())
}

func elementsOf(tensor graphpipe.Tensor) (any, error) {
	k, ok := kinds[tensor.Type]
	if !ok {
		return nil, graphpipe.Errorf(graphpipe.ErrInvalidInput, "%v has no type of Go's own; use the "+
			"NativeTensor", tensor)
	}
	return k.elements(tensor)
}
