package graphpipe

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// connection counts what is moved over a socket, and what of that the other side acknowledged.
type connection struct {
	net.Conn
	nWritten, nRead atomic.Int64
	isBroken        atomic.Bool // a write failed
	hasEnded        atomic.Bool // the other side's bytes
	wasReset        atomic.Bool
	isClosed        atomic.Bool
	lacksSome       atomic.Bool // when it was closed, not all had been acknowledged
}

func (c *connection) Read(to []byte) (int, error) {
	n, err := c.Conn.Read(to)
	c.nRead.Add(int64(n))
	if errors.Is(err, syscall.ECONNRESET) {
		c.wasReset.Store(true)
	}
	if err == io.EOF || c.wasReset.Load() {
		c.hasEnded.Store(true)
	}
	return n, err
}

func (c *connection) Write(from []byte) (int, error) {
	n, err := c.Conn.Write(from)
	return c.written(int64(n), len(from), err)
}

// written hides the failure of a write to a peer that has gone: reading tells what that means.
func (c *connection) written(n int64, all int, err error) (int, error) {
	c.nWritten.Add(n)
	if err == nil {
		return all, nil
	}
	c.isBroken.Store(true)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return all, nil
	}
	return int(n), err
}

var _ io.ReaderFrom = (*connection)(nil)

// ReadFrom writes what net/http has left of a body, and of other readers what they give.
func (c *connection) ReadFrom(from io.Reader) (int64, error) {
	limited, ok := from.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, from)
	}
	parts, ok := limited.R.(*body)
	if !ok || parts.left > limited.N {
		return io.Copy(struct{ io.Writer }{c}, from)
	}
	all := parts.left
	limited.N -= all
	n, err := parts.buffers.WriteTo(c.Conn)
	parts.buffers, parts.left = nil, 0
	written, err := c.written(n, int(all), err)
	return int64(written), err
}

func (c *connection) Close() error {
	if !c.isClosed.Swap(true) {
		n, isKnown := acknowledged(c.Conn)
		c.lacksSome.Store(isKnown && n < c.nWritten.Load())
	}
	return c.Conn.Close()
}

// body is a request's. net/http closes it when it reads no more of it, whatever happens.
type body struct {
	buffers net.Buffers
	left    int64
	closed  chan struct{}
}

func newBody(parts [][]byte) *body {
	b := &body{buffers: append(net.Buffers{}, parts...), closed: make(chan struct{})}
	for _, part := range parts {
		b.left += int64(len(part))
	}
	return b
}

func (b *body) Read(to []byte) (int, error) {
	n, err := b.buffers.Read(to)
	b.left -= int64(n)
	return n, err
}

func (b *body) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return nil
}
