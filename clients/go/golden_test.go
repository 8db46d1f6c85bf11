package graphpipe

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Messages that other libraries wrote are read; ours are, byte for byte, those of the C library.

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

var (
	sourceDir = environment("GP_SOURCE_DIR", "../..")
	buildDir  = environment("GP_BUILD_DIR", filepath.Join(sourceDir, "build/release"))
)

type goldenTensor struct {
	Type    string
	Shape   []int64
	DataHex string   `json:"data_hex"`
	Strings []string `json:"strings"`
}

type goldenIO struct {
	Name, Type string
	Shape      []int64
}

type goldenCase struct {
	File, Message, Config string
	InputNames            []string       `json:"input_names"`
	OutputNames           []string       `json:"output_names"`
	InputTensors          []goldenTensor `json:"input_tensors"`
	OutputTensors         []goldenTensor `json:"output_tensors"`
	Errors                []struct {
		Code    int
		Message string
	}
	Name, Version, Server, Description string
	Inputs, Outputs                    []goldenIO
}

func typeNamed(t testing.TB, name string) Type {
	for i, known := range types {
		if known.name == name {
			return Type(i)
		}
	}
	t.Fatalf("no type %s", name)
	return Null
}

func (g goldenTensor) tensor(t testing.TB) Tensor {
	tensor := Tensor{Type: typeNamed(t, g.Type), Shape: append([]int64{}, g.Shape...)}
	if tensor.Type == String {
		tensor.Strings = append([]string{}, g.Strings...)
		return tensor
	}
	data, err := hex.DecodeString(g.DataHex)
	if err != nil {
		t.Fatal(err)
	}
	tensor.Data = data
	return tensor
}

func tensorsOf(t testing.TB, golden []goldenTensor) []Tensor {
	tensors := []Tensor{}
	for _, g := range golden {
		tensors = append(tensors, g.tensor(t))
	}
	return tensors
}

// sameTensors compares as values: no bytes and nil are the same.
func sameTensors(a, b []Tensor) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Type != b[i].Type || !reflect.DeepEqual(a[i].Shape, b[i].Shape) ||
			!bytes.Equal(a[i].Data, b[i].Data) || len(a[i].Strings) != len(b[i].Strings) ||
			strings.Join(a[i].Strings, "\x00|") != strings.Join(b[i].Strings, "\x00|") {
			return false
		}
	}
	return true
}

func goldenCases(t testing.TB, message string) []goldenCase {
	var cases []goldenCase
	for _, name := range []string{"manifest.json", "manifest-go.json"} {
		var some []goldenCase
		if err := json.Unmarshal(readFile(t, "tests/golden/vectors/"+name), &some); err != nil {
			t.Fatal(err)
		}
		for _, c := range some {
			if c.Message == message {
				cases = append(cases, c)
			}
		}
	}
	if len(cases) == 0 {
		t.Fatalf("no golden %s", message)
	}
	return cases
}

func readFile(t testing.TB, path string) []byte {
	data, err := os.ReadFile(filepath.Join(sourceDir, path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func golden(t testing.TB, name string) []byte {
	return readFile(t, "tests/golden/vectors/"+name)
}

func whole(t testing.TB) func(parts [][]byte, err error) []byte {
	return func(parts [][]byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Join(parts, nil)
	}
}

func TestAnswersAreRead(t *testing.T) {
	for _, c := range goldenCases(t, "InferResponse") {
		tensors, err := decodeAnswer(golden(t, c.File), 200)
		if len(c.Errors) > 0 {
			var said *Error
			if !errors.As(err, &said) || said.Message != c.Errors[0].Message ||
				said.Code != c.Errors[0].Code {
				t.Errorf("%s: %v", c.File, err)
			}
		} else if err != nil || !sameTensors(tensors, tensorsOf(t, c.OutputTensors)) {
			t.Errorf("%s: %v %v", c.File, tensors, err)
		}
	}
}

func TestMetadataIsRead(t *testing.T) {
	for _, c := range goldenCases(t, "MetadataResponse") {
		m, err := decodeMetadata(golden(t, c.File))
		if err != nil {
			t.Fatal(err)
		}
		if m.Name != c.Name || m.Version != c.Version || m.Server != c.Server ||
			m.Description != c.Description {
			t.Errorf("%s: %+v", c.File, m)
		}
		for i, ios := range [][]IO{m.Inputs, m.Outputs} {
			wanted := [][]goldenIO{c.Inputs, c.Outputs}[i]
			if len(ios) != len(wanted) {
				t.Fatalf("%s: %v", c.File, ios)
			}
			for j, io := range ios {
				if io.Name != wanted[j].Name || io.Type.String() != wanted[j].Type ||
					!reflect.DeepEqual(io.Shape, append([]int64{}, wanted[j].Shape...)) {
					t.Errorf("%s: %v", c.File, io)
				}
			}
		}
	}
}
