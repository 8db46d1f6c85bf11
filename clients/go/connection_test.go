package graphpipe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Connections that end at every moment, and servers that answer whatever they like.

var (
	background = context.Background()
	x          = NewTensor([]float32{0, 0, 0})
	largeInput = NewTensor(make([]uint8, 20<<20)) // more than sockets hold
)

func float32Answer(t testing.TB) []byte { return good(golden(t, "resp_float32.bin")) }

func run(client *Client, inputs ...Tensor) error {
	_, err := client.Run(background, &Request{Inputs: inputs})
	return err
}

func expect(t *testing.T, err, kind error, words string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), words) {
		t.Errorf("wanted %v with %q, got: %v", kind, words, err)
	}
	if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("not one visible line: %q", err)
	}
}

// --- requests that are sent again, and those that are not ----------------------------------

func TestAKeptConnectionThatWasClosedIsReplaced(t *testing.T) {
	overBoth(t, func(t *testing.T, network string) {
		one := float32Answer(t)
		server := serve(t, network, once(one), once(one))
		client := server.client(t)
		for _, closed := range server.closed {
			if err := run(client, x); err != nil {
				t.Fatal(err)
			}
			<-closed
		}
	})
}

// The server closes a kept connection just as the next request is sent: the client has not seen it.
func TestClosedJustAsTheRequestIsSent(t *testing.T) {
	overBoth(t, func(t *testing.T, network string) {
		one := float32Answer(t)
		closes := func(p *peer) {
			p.request()
			p.send(one)
			_, _ = p.in.Peek(1) // of the next request, which is never read whole
		}
		server := serve(t, network, closes, closes, closes, always(one))
		client := server.client(t)
		for i := 0; i < 4; i++ {
			if err := run(client, largeInput); err != nil {
				t.Fatal(err)
			}
		}
		client.Close()
		if n := server.requests(); n != 4 {
			t.Errorf("%d requests", n)
		}
	})
}

// A unix socket tells that the request was not read.
func TestClosedWithTheRequestUnread(t *testing.T) {
	one := float32Answer(t)
	server := serve(t, "unix", func(p *peer) {
		p.request()
		p.send(one)
		awaitUnread(p)
	}, always(one))
	client := server.client(t)
	for i := 0; i < 2; i++ {
		if err := run(client, x); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
}

// awaitUnread waits for bytes to come, and leaves them there.
func awaitUnread(p *peer) {
	raw, err := p.Conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	})
}

func TestARequestThatMayHaveRunIsNotSentAgain(t *testing.T) {
	overBoth(t, func(t *testing.T, network string) {
		one := float32Answer(t)
		server := serve(t, network, func(p *peer) {
			p.request()
			p.send(one)
			p.request()
		})
		client := server.client(t)
		if err := run(client, x); err != nil {
			t.Fatal(err)
		}
		expect(t, run(client, x), ErrUnavailable, "closed the connection without an answer")
		if n := server.requests(); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestARequestWhoseAnswerHasBegunIsNotSentAgain(t *testing.T) {
	one := float32Answer(t)
	for _, beginning := range [][]byte{[]byte("H"), []byte("HTTP/1.1 100 Continue\r\n\r\n"), one[:60],
		one[:len(one)-1]} {
		overBoth(t, func(t *testing.T, network string) {
			server := serve(t, network, func(p *peer) {
				p.request()
				p.send(one)
				p.request()
				p.send(beginning)
			})
			client := server.client(t)
			if err := run(client, x); err != nil {
				t.Fatal(err)
			}
			expect(t, run(client, x), ErrUnavailable, "in the middle of the answer")
			if n := server.requests(); n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// Not even one that was not received whole: its answer is half here.
func TestAnAnswerThatBeginsBeforeTheRequestEnds(t *testing.T) {
	one := float32Answer(t)
	server := serve(t, "unix", func(p *peer) {
		p.request()
		p.send(one)
		p.head()
		p.send([]byte("H"))
	}, always(one))
	client := server.client(t)
	if err := run(client, x); err != nil {
		t.Fatal(err)
	}
	expect(t, run(client, largeInput), ErrUnavailable, "in the middle of the answer")
	if n := server.requests(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestANewConnectionThatIsClosedAtOnceIsAnError(t *testing.T) {
	overBoth(t, func(t *testing.T, network string) {
		server := serve(t, network, func(*peer) {})
		expect(t, run(server.client(t), x), ErrUnavailable, "without an answer")
	})
}

func TestARefusalIsHeardWhileTheRequestIsSent(t *testing.T) {
	overBoth(t, func(t *testing.T, network string) {
		server := serve(t, network, func(p *peer) {
			p.head()
			p.send([]byte("HTTP/1.1 102 Wait\r\n\r\n"),
				answerOf([]byte("too long: 7\n"), "413 Payload Too Large", "text/plain"))
			p.untilClosed()
		})
		expect(t, run(server.client(t), largeInput), ErrInvalidInput, "too long: 7")
	})
}

// A server that refuses, and closes without reading: what it said is in the socket still.
func TestARefusalIsHeardThoughThePipeIsBroken(t *testing.T) {
	scripts := make([]script, 50) // whether the answer or the pipe is noticed first is chance
	for i := range scripts {
		scripts[i] = func(p *peer) {
			p.head()
			p.send(answerOf([]byte("too long: 7\n"), "413 Payload Too Large", "text/plain"))
		}
	}
	client := serve(t, "unix", scripts...).client(t)
	for range scripts {
		expect(t, run(client, largeInput), ErrInvalidInput, "too long: 7")
	}
}

// watched sees the memory that is written.
type watched struct {
	net.Conn
	of     []byte
	nOwned *int
}

func (w watched) Write(p []byte) (int, error) {
	first, at := uintptr(unsafe.Pointer(&w.of[0])), uintptr(unsafe.Pointer(&p[0]))
	if at >= first && at < first+uintptr(len(w.of)) {
		*w.nOwned += len(p)
	}
	return w.Conn.Write(p)
}

func TestPartsAreWrittenFromWhereTheyLie(t *testing.T) {
	client := serve(t, "tcp", always(float32Answer(t))).client(t)
	nOwned := 0
	transport := client.transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		conn, err := dial(ctx, network, to)
		if err == nil {
			made := conn.(*connection)
			made.Conn = watched{made.Conn, largeInput.Data, &nOwned}
		}
		return conn, err
	}
	if err := run(client, largeInput); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if n := len(largeInput.Data) - nOwned; n > 16<<10 { // what is sent with the head
		t.Errorf("%d of %d bytes were copied", n, len(largeInput.Data))
	}
}

// --- time -------------------------------------------------------------------------------------

func TestAServerThatNeverAnswers(t *testing.T) {
	for _, input := range []Tensor{x, largeInput} {
		input := input
		gone := make(chan struct{})
		server := serve(t, "tcp", func(p *peer) {
			p.head()
			if input.Type == Uint8 { // nothing is read
				<-gone
			}
			p.untilClosed()
		})
		client := server.client(t)
		ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
		_, err := client.Run(ctx, &Request{Inputs: []Tensor{input}})
		cancel()
		close(gone)
		expect(t, err, ErrDeadlineExceeded, "the time is up")
		expect(t, err, context.DeadlineExceeded, "")
		said, err := strconv.Atoi(server.header(0).Get("X-Graphpipe-Timeout-Ms"))
		if err != nil || said < 1 || said > 200 {
			t.Errorf("the server was told %d ms", said)
		}
	}
}

func TestACallThatIsCancelled(t *testing.T) {
	one := float32Answer(t)
	ctx, cancel := context.WithCancel(background)
	server := serve(t, "tcp", func(p *peer) {
		p.request()
		cancel()
		p.untilClosed() // the client hangs up
	}, always(one))
	client := server.client(t)
	_, err := client.Run(ctx, &Request{Inputs: []Tensor{x}})
	expect(t, err, context.Canceled, "was cancelled")
	_, err = client.Run(ctx, &Request{Inputs: []Tensor{x}})
	expect(t, err, context.Canceled, "")
	if err := run(client, x); err != nil {
		t.Error(err)
	}
	client.Close()
}

func TestAnAnswerThatDrips(t *testing.T) {
	server := serve(t, "tcp", func(p *peer) {
		p.request()
		_, err := p.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"))
		for err == nil {
			_, err = p.Write([]byte("x"))
			time.Sleep(time.Millisecond)
		}
	})
	ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	_, err := server.client(t).Run(ctx, &Request{Inputs: []Tensor{x}})
	expect(t, err, ErrDeadlineExceeded, "the time is up")
}
