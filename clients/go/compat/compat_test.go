package compat

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"graphpipe.dev/graphpipe"
)

// What programs of 2018 do, against functions that are served as in 2018.

func listen(t *testing.T, opts *ServeRawOptions) string {
	server := httptest.NewServer(opts.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

func echo(_ *RequestContext, _ string, in any) any { return in }

func TestRemote(t *testing.T) {
	uri := listen(t, BuildSimpleApply(echo, nil, nil))
	for _, value := range []any{
		[]uint8{1}, []int8{-1, 2}, []uint16{3}, []int16{4}, []uint32{5}, []int32{6}, []uint64{7},
		[]int64{8}, []float32{1.5}, []float64{2.5}, []string{"a", "ß\x00"}, float32(3), "one", int64(-1),
		[][]float32{{1, 2}, {3, 4}, {5, 6}}, [][][]int16{{{1}, {2}}, {{3}, {4}}}, [][]string{{"a"}, {"b"}},
		[]float32{}, [][]int64{{}, {}}, [][]string{},
	} {
		back, err := Remote(uri, value)
		if err != nil || !reflect.DeepEqual(back, value) {
			t.Errorf("%#v came back as %#v: %v", value, back, err)
		}
	}
	if back, err := Remote(uri, [2][2]float32{{1, 2}, {3, 4}}); err != nil ||
		!reflect.DeepEqual(back, [][]float32{{1, 2}, {3, 4}}) {
		t.Error(back, err)
	}
	if back, err := Remote(uri, []any{[]any{1.5}, []any{2.5}}); err != nil ||
		!reflect.DeepEqual(back, [][]float64{{1.5}, {2.5}}) {
		t.Error(back, err)
	}
}

func TestWhatIsNoTensor(t *testing.T) {
	for words, value := range map[string]any{
		"nil is no tensor":  nil,
		"int cannot be":     []int{1},
		"bool cannot be":    true,
		"the same length":   [][]float32{{1}, {2, 3}},
		"are not all of":    []any{float32(1), float64(2)},
		"struct {} cannot ": struct{}{},
		"the same":          []any{[]any{float32(1)}, nil},
	} {
		var nt NativeTensor
		if err := nt.InitSimple(value); !errors.Is(err, graphpipe.ErrInvalidInput) ||
			!strings.Contains(err.Error(), words) {
			t.Errorf("%v: %v", value, err)
		}
	}
	var nt NativeTensor
	for _, err := range []error{
		nt.InitWithData([]byte{1, 2, 3}, []int64{1}, uint8(graphpipe.Float32)),
		nt.InitWithData(nil, nil, 99), nt.InitWithStringVals([]string{"a"}, []int64{2}),
		nt.InitWithData(nil, []int64{-1}, uint8(graphpipe.Uint8)),
	} {
		if !errors.Is(err, graphpipe.ErrInvalidInput) {
			t.Error(err)
		}
	}
	if err := nt.InitWithData([]byte{1, 0, 2, 0}, []int64{2}, uint8(graphpipe.Int16)); err != nil {
		t.Error(err)
	}
	if back, err := NativeTensorToNative(&nt); err != nil || !reflect.DeepEqual(back, []int16{1, 2}) {
		t.Error(back, err)
	}
	if tensor, err := nt.Build(); err != nil || tensor.String() != "int16[2]" {
		t.Error(tensor, err)
	}
	half := NativeTensor{Type: uint8(graphpipe.Float16), Shape: []int64{1}, Data: []byte{0, 0}}
	if _, err := NativeTensorToNative(&half); err == nil {
		t.Error("Go has a float16 now")
	}
	// nothing, in more rows than there is memory
	for _, shape := range [][]int64{{1 << 40, 0}, {1 << 20, 1 << 20, 0}, {1 << 62, 1 << 62, 0}, {0, 1 << 40}} {
		nothing := NativeTensor{Type: uint8(graphpipe.Uint8), Shape: shape}
		back, err := NativeTensorToNative(&nothing)
		if err == nil && reflect.ValueOf(back).Len() > 0 {
			t.Errorf("%v became %T", shape, back)
		}
	}
}

func TestRowsAreViews(t *testing.T) {
	var nt NativeTensor
	if err := nt.InitSimple([]float32{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	nt.Shape = []int64{2, 2}
	back, err := NativeTensorToNative(&nt)
	if err != nil {
		t.Fatal(err)
	}
	rows := back.([][]float32)
	copy(nt.Data[8:], []byte{0, 0, 128, 63})
	if rows[1][0] != 1 || cap(rows[0]) != 2 {
		t.Error(rows)
	}
}

// --- functions that are served ------------------------------------------------------------

type scale struct{ By float32 }

func scaled(about *RequestContext, config scale, rows [][]float32, names []string) ([][]float32, []string, error) {
	if !about.IsAlive() {
		return nil, nil, errors.New("nobody is there")
	}
	if config.By == 0 {
		return nil, nil, graphpipe.Errorf(graphpipe.ErrInvalidInput, "by 0")
	}
	if config.By < 0 {
		panic("negative")
	}
	for _, row := range rows {
		for i := range row {
			row[i] *= config.By
		}
	}
	return rows, append(names, "done"), nil
}

func TestAFunctionOfGoTypes(t *testing.T) {
	uri := listen(t, BuildSimpleApply(scaled, [][]int64{{-1, 2}}, nil))
	ins := []any{[][]float32{{1, 2}, {3, 4}}, []string{"a"}}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, client := range []*http.Client{nil, client, {}} {
		outs, err := MultiRemote(client, uri, `{"By": 2}`, ins, nil, nil)
		if err != nil || !reflect.DeepEqual(outs, []any{[][]float32{{2, 4}, {6, 8}}, []string{"a", "done"}}) {
			t.Fatal(outs, err)
		}
	}
	outs, err := MultiRemote(nil, uri, `{"By": 3}`, []any{ins[1], ins[0]}, []string{"input1", "input0"},
		[]string{"output1"})
	if err != nil || !reflect.DeepEqual(outs, []any{[]string{"a", "done"}}) {
		t.Error(outs, err)
	}
	for words, ask := range map[string]func() error{
		"by 0":               func() error { _, err := MultiRemote(nil, uri, "{}", ins, nil, nil); return err },
		"config: ":           func() error { _, err := MultiRemote(nil, uri, "", ins, nil, nil); return err },
		"panicked: negative": func() error { _, err := MultiRemote(nil, uri, `{"By": -1}`, ins, nil, nil); return err },
		"missing":            func() error { _, err := Remote(uri, ins[0]); return err },
		"float32[-1,2]": func() error {
			_, err := MultiRemote(nil, uri, `{"By": 1}`, []any{[][]float32{{1}}, ins[1]}, nil, nil)
			return err
		},
		`no output "z"`: func() error {
			_, err := MultiRemote(nil, uri, `{"By": 1}`, ins, nil, []string{"z"})
			return err
		},
	} {
		if err := ask(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	asker, err := graphpipe.NewClient(uri)
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	metadata, err := asker.Metadata(context.Background())
	if err != nil || metadata.Inputs[0].String() != "input0 float32[-1,2]" ||
		metadata.Outputs[1].String() != "output1 string[-1]" {
		t.Error(metadata, err)
	}
}

func TestServeRaw(t *testing.T) {
	cleaned := 0
	opts := &ServeRawOptions{DefaultInputs: []string{"x"}, DefaultOutputs: []string{"y"},
		Meta: &NativeMetadataResponse{Name: "raw"},
		Apply: func(about *RequestContext, config string, inputs map[string]*NativeTensor,
			wanted []string) ([]*NativeTensor, error) {
			about.CleanupFunc = func() { cleaned++ }
			if about.SetDead(); about.IsAlive() || config != "c" || wanted[0] != "y" {
				return nil, errors.New("no")
			}
			return []*NativeTensor{inputs["x"]}, nil
		},
		GetHandler: func(w http.ResponseWriter, _ *http.Request, _ []byte) error {
			_, err := w.Write([]byte("about"))
			return err
		}}
	uri := listen(t, opts)
	in := &NativeTensor{Type: uint8(graphpipe.Float16), Shape: []int64{1}, Data: []byte{1, 2}}
	outs, err := MultiRemoteRaw(nil, uri, "c", []*NativeTensor{in}, nil, nil)
	if err != nil || !reflect.DeepEqual(outs, []*NativeTensor{in}) || cleaned != 1 {
		t.Fatal(outs, err, cleaned)
	}
	_, err = MultiRemoteRaw(nil, uri, "", []*NativeTensor{in}, nil, nil)
	if !errors.Is(err, graphpipe.ErrModel) || err.Error() != "no" {
		t.Error(err)
	}
	_, err = MultiRemoteRaw(nil, uri, "", []*NativeTensor{in, in}, nil, nil)
	if !errors.Is(err, graphpipe.ErrInvalidInput) {
		t.Error(err)
	}
	answer, err := http.Get(uri)
	if err != nil || answer.StatusCode != 200 {
		t.Error(answer, err)
	}
	_ = answer.Body.Close()
	if err := Serve("127.0.0.1:99999", true, echo, nil, nil); err == nil {
		t.Error("it listens on an address that is none")
	}
}

func TestTypesThatAreNewer(t *testing.T) {
	uri := listen(t, &ServeRawOptions{DefaultInputs: []string{"x"}, Apply: func(*RequestContext, string,
		map[string]*NativeTensor, []string) ([]*NativeTensor, error) {
		return []*NativeTensor{{Type: uint8(graphpipe.Bool), Shape: []int64{2}, Data: []byte{1, 0}}}, nil
	}})
	if back, err := Remote(uri, float32(1)); err != nil || !reflect.DeepEqual(back, []uint8{1, 0}) {
		t.Error(back, err)
	}
}

// --- the client of 2018 in Python, and the program ------------------------------------------

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func TestTheClientOf2018AsksAFunction(t *testing.T) {
	python := filepath.Join(environment("GP_SOURCE_DIR", "../../.."), ".deps/venv/bin/python")
	if exec.Command(python, "-c", "from graphpipe import remote").Run() != nil {
		t.Skip("the client of 2018 is missing: tools/setup test")
	}
	uri := listen(t, BuildSimpleApply(scaled, nil, nil))
	out, err := exec.Command(python, "-B", "-c", `
import sys
import numpy as np
from graphpipe import remote
rows, names = remote.execute_multi(sys.argv[1], [np.float32([[1, 2]]), np.array([b"a"])], None, None,
                                   '{"By": 2}')
print(rows.tolist(), names.tolist(), remote.get_input_names(sys.argv[1]))
`, uri).CombinedOutput()
	if wanted := `[[2.0, 4.0]] [b'a', b'done'] ['input0', 'input1']`; err != nil ||
		!strings.Contains(string(out), wanted) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAPortThatIsNotSaid(t *testing.T) {
	for uri, wanted := range map[string]string{"http://h": "http://h:80", "http://h/x": "http://h:80/x",
		"http://[::1]": "http://[::1]:80", "http://h:9/x": "http://h:9/x", "h": "h"} {
		if got := withoutPort.ReplaceAllString(uri, "$1:80$2"); got != wanted {
			t.Errorf("%s: %s", uri, got)
		}
	}
}
