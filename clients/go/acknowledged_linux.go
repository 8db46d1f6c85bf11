//go:build amd64 || arm64 || arm || loong64 || riscv64

package graphpipe

import (
	"encoding/binary"
	"net"
	"syscall"
	"unsafe"
)

// acknowledged is how many bytes the other side's kernel has received, of all that were ever
// written to this connection; it may count one more, for the connection's beginning.
func acknowledged(conn net.Conn) (int64, bool) {
	const tcpInfo, bytesAcked = 11, 120 // linux/tcp.h: TCP_INFO, and a place in struct tcp_info
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info [bytesAcked + 8]byte
	size := uint32(len(info))
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, tcpInfo,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil || failed != 0 || size < uint32(len(info)) {
		return 0, false
	}
	return int64(binary.NativeEndian.Uint64(info[bytesAcked:])), true
}
