package graphpipe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The client and the real program, on the loopback and on sockets in temporary folders.

var programPath = environment("GP_BIN", filepath.Join(buildDir, "bin/graphpipe"))

var listening = regexp.MustCompile(`listening on (\S+)`)

// program is the server, running.
type program struct {
	address string
	stop    func()
}

func needProgram(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(programPath); err != nil {
		t.Skip("the program is not built: make")
	}
}

func start(t testing.TB, arguments ...string) *program {
	t.Helper()
	needProgram(t)
	if !strings.Contains(strings.Join(arguments, " "), "--listen") {
		arguments = append(arguments, "--listen", "127.0.0.1:0")
	}
	command := exec.Command(programPath, append([]string{"serve"}, arguments...)...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "GP_") {
			command.Env = append(command.Env, variable)
		}
	}
	said, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{}
	var lines []string
	in := bufio.NewScanner(said)
	for p.address == "" && in.Scan() {
		lines = append(lines, in.Text())
		if found := listening.FindStringSubmatch(in.Text()); found != nil {
			p.address = found[1]
		}
	}
	if p.address == "" {
		_ = command.Wait()
		t.Fatal(strings.Join(lines, "\n"))
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for in.Scan() {
		}
	}()
	var once sync.Once
	p.stop = func() {
		once.Do(func() {
			_ = command.Process.Signal(syscall.SIGTERM)
			<-drained
			if err := command.Wait(); err != nil {
				t.Errorf("the server: %v", err)
			}
		})
	}
	t.Cleanup(p.stop)
	return p
}

func (p *program) client(t testing.TB, options ...Option) *Client {
	t.Helper()
	client, err := NewClient(p.address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func onnx(t testing.TB, name string) string {
	if _, err := os.Stat(filepath.Join(buildDir, "lib/graphpipe/graphpipe-engine-onnx.so")); err != nil {
		t.Skip("the onnx engine is not built: tools/setup onnx, then make")
	}
	path, err := filepath.Abs(filepath.Join(sourceDir, "tests/models", name+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func within(t testing.TB, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(background, limit)
	t.Cleanup(cancel)
	return ctx
}

func TestEcho(t *testing.T) {
	large := make([]float32, 128*3*224*224/8)
	for i := range large {
		large[i] = float32(i)
	}
	client := start(t, "--engine", "echo").client(t)
	inputs := []Tensor{NewTensor(large, 16, 3, 224, 224), NewTensor([]string{"ä", "\x00b"}, 2, 1),
		NewTensor([]bool{true, false}), NewTensor([]BF16{NewBF16(1)}), NewTensor([]F16{NewF16(2)}),
		Scalar(int64(-5)), NewTensor([]uint16{}, 0, 4), NewTensor([]float64{1, 2})}
	outputs, err := client.Run(within(t, patience), &Request{Inputs: inputs})
	if err != nil || !sameTensors(inputs, outputs) {
		t.Fatal(outputs, err)
	}
	for _, output := range outputs {
		if output.Type == Float64 { // aligned, so that it is a view
			if values, err := Data[float64](output); err != nil || &bytesOf(values)[0] != &output.Data[0] {
				t.Error("a copy", err)
			}
		}
	}
}

func TestNamesAndMetadata(t *testing.T) {
	client := start(t, "--model", onnx(t, "pair")).client(t)
	ctx := within(t, patience)
	metadata, err := client.Metadata(ctx)
	if err != nil || metadata.Name != "pair" || !strings.HasPrefix(metadata.Server, "graphpipe ") ||
		!strings.Contains(metadata.String(), "\n  product float32[-1]") {
		t.Error(metadata, err)
	}
	a, b := NewTensor([]float32{1, 2, 3}), NewTensor([]float32{4, 5, 6})
	for _, wanted := range [][]string{nil, {"product", "sum"}, {"sum"}} {
		outputs, err := client.Infer(ctx, map[string]Tensor{"b": b, "a": a}, wanted...)
		if err != nil {
			t.Fatal(err)
		}
		if sum, err := Data[float32](outputs["sum"]); err != nil || !reflect.DeepEqual(sum, []float32{5, 7, 9}) {
			t.Error(sum, err)
		}
		if n := len(outputs); n != 2 && len(wanted) != 1 || n != 1 && len(wanted) == 1 {
			t.Error(outputs)
		}
	}
	_, err = client.Infer(ctx, map[string]Tensor{"a": NewTensor([]float64{1}), "b": b})
	expect(t, err, ErrInvalidInput, "float64")
	var said *Error
	if !errors.As(err, &said) || said.Code != 1 {
		t.Errorf("%#v", err)
	}
	_, err = client.Infer(ctx, map[string]Tensor{"a": a, "b": b}, "nobody")
	expect(t, err, ErrInvalidInput, "nobody")
}

func TestModelsByPath(t *testing.T) {
	server := start(t, "two="+onnx(t, "pair"), "one="+onnx(t, "mlp"), "--default-model", "two")
	client, ctx := server.client(t), within(t, patience)
	input := NewTensor([]float32{1, 0, 0, 0}, 1, 4)
	for _, name := range []string{"one", "one/versions/1", "/one/"} {
		if y, err := Infer[float32](ctx, client.Model(name), input); err != nil || y[1] != 2 {
			t.Error(name, y, err)
		}
	}
	direct, err := NewClient(server.address + "/one")
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if outputs, err := direct.Infer(ctx, map[string]Tensor{"x": input}); err != nil || len(outputs["y"].Data) != 12 {
		t.Error(outputs, err)
	}
	_, err = Infer[float32](ctx, client.Model("nobody"), input)
	expect(t, err, ErrNotFound, `"nobody"`)
}

// The names are asked for once, and again after the server refused them.
func TestAModelWithOtherOutputsIsNoticed(t *testing.T) {
	where := "unix:" + filepath.Join(t.TempDir(), "socket")
	client, err := NewClient(where)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := start(t, "--model", onnx(t, "pair"), "--listen", where)
	ab := NewTensor([]float32{1})
	if _, err := client.Infer(background, map[string]Tensor{"a": ab, "b": ab}); err != nil {
		t.Fatal(err)
	}
	server.stop()
	start(t, "--model", onnx(t, "mlp"), "--listen", where)
	input := map[string]Tensor{"x": NewTensor(make([]float32, 4), 1, 4)}
	_, err = client.Infer(background, input)
	expect(t, err, ErrInvalidInput, "")
	if outputs, err := client.Infer(background, input); err != nil || len(outputs) != 1 {
		t.Error(outputs, err)
	}
}

func plugin(t *testing.T, name string) string {
	path := filepath.Join(buildDir, "lib/graphpipe-test/graphpipe-engine-"+name+".so")
	if _, err := os.Stat(path); err != nil {
		t.Skip("the plug-ins of the tests are not built: make")
	}
	return path
}

func TestAModelThatFails(t *testing.T) {
	client := start(t, "--engine", plugin(t, "faulty")).client(t)
	_, err := client.Run(background, &Request{Inputs: []Tensor{x}, Config: "fail"})
	expect(t, err, ErrModel, "")
	if err := run(client, x); err != nil {
		t.Error(err)
	}
}

func TestDeadlineAndBusy(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	held := &Request{Inputs: []Tensor{x}, Config: "until=" + gate}
	server := start(t, "--engine", plugin(t, "slow"), "--instances", "1", "--max-waiting", "1")
	client := server.client(t)
	_, err := client.Run(within(t, 200*time.Millisecond), held)
	expect(t, err, ErrDeadlineExceeded, "")
	server.await(t, "in_flight 1") // which is the question's

	results := make(chan error, 2)
	for i := 0; i < 2; i++ {
		go func() {
			_, err := client.Run(background, held)
			results <- err
		}()
		server.await(t, []string{"in_flight 2", "waiting 1"}[i])
	}
	_, err = client.Run(background, held)
	expect(t, err, ErrBusy, "")
	expect(t, err, ErrUnavailable, "")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 2; i++ {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// metrics gives the values of /metrics by name, those of all models and listeners together.
func (p *program) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	answer, err := http.Get(p.address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	values := map[string]float64{}
	in := bufio.NewScanner(answer.Body)
	for in.Scan() {
		name, rest, _ := strings.Cut(in.Text(), " ")
		if strings.HasSuffix(name, "}") {
			rest = rest[strings.LastIndexByte(rest, ' ')+1:]
		}
		name, _, _ = strings.Cut(name, "{")
		var value float64
		if _, err := fmt.Sscan(rest, &value); err == nil {
			values[strings.TrimPrefix(name, "graphpipe_")] += value
		}
	}
	return values
}

// await polls until a metric has a value.
func (p *program) await(t *testing.T, wanted string) {
	t.Helper()
	name, _, _ := strings.Cut(wanted, " ")
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if fmt.Sprintf("%s %g", name, p.metrics(t)[name]) == wanted {
			return
		}
	}
	t.Fatalf("%s did not come", wanted)
}

func TestConnectionsAreKept(t *testing.T) {
	server := start(t, "--engine", "echo")
	client := server.client(t)
	http.DefaultClient.CloseIdleConnections()
	before := server.metrics(t)["accepted_connections_total"]
	for i := 0; i < 20; i++ {
		if err := run(client, x); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.metrics(t)["accepted_connections_total"] - before; n > 2 { // one may be the question's
		t.Errorf("%g connections", n)
	}
}

func TestGoroutinesShareAClient(t *testing.T) {
	server := start(t, "--engine", "echo")
	client := server.client(t)
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		i := i
		all.Add(1)
		go func() {
			defer all.Done()
			for j := 0; j < 25; j++ {
				sent := make([]int64, 500*i+j)
				for k := range sent {
					sent[k] = int64(i)
				}
				back, err := Infer[int64](background, client, NewTensor(sent))
				if err != nil || !reflect.DeepEqual(back, sent) {
					t.Error(len(back), err)
				}
			}
		}()
	}
	all.Wait()
	// net/http may make one more for each goroutine, which it keeps
	if n := server.metrics(t)["accepted_connections_total"]; n > 17 {
		t.Errorf("%g connections", n)
	}
}

func TestAServerThatRestartsBetweenCalls(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "socket")} {
		var client *Client
		var server *program
		for i := 0; i < 3; i++ {
			server = start(t, "--engine", "echo", "--listen", strings.TrimPrefix(listen, "http://"))
			listen = server.address
			if client == nil {
				client = server.client(t)
			}
			for j := 0; j < 2; j++ {
				if err := run(client, x); err != nil {
					t.Fatal(err)
				}
			}
			server.stop()
		}
		expect(t, run(client, x), ErrUnavailable, "")
	}
}

func TestAPathBehindASocket(t *testing.T) {
	where := "unix:" + filepath.Join(t.TempDir(), "socket")
	start(t, "--engine", "echo", "--listen", where)
	for _, address := range []string{where, where + ":/echo"} {
		client, err := NewClient(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := run(client, x); err != nil {
			t.Error(err)
		}
		client.Close()
	}
}

// An http.Client's own transport works, without what ours does beside.
func TestAnotherTransport(t *testing.T) {
	server := start(t, "--engine", "echo")
	client := server.client(t, WithTransport(http.DefaultTransport))
	for i := 0; i < 3; i++ {
		if back, err := Infer[uint8](background, client, largeInput); err != nil || len(back) != 20<<20 {
			t.Fatal(err)
		}
	}
	server.stop()
	expect(t, run(client, x), ErrUnavailable, "")
}
