package main

// Byte streams: dialing and listening on tcp and unix, HTTP CONNECT, and a way of writing that tears every message apart.
// Not here: what is said on a stream.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const handshakeWithin = 10 * time.Second

// listen opens a listener; without an address it takes a free port on loopback.
func listen(network, address string) (net.Listener, error) {
	if address == "" {
		if network != "tcp" {
			return nil, fmt.Errorf("%w: -net %s needs -addr", errUsage, network)
		}
		address = "127.0.0.1:0"
	}
	return net.Listen(network, address)
}

// acceptAll handles each connection in a goroutine of its own, until the listener closes.
func acceptAll(listener net.Listener, handle func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go handle(conn)
		}
	}
}

// stream is a connection whose reader may have read ahead of it.
type stream struct {
	net.Conn
	reader io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.reader.Read(p) }

func (s stream) CloseWrite() error { return closeWrite(s.Conn) }

// closeWrite half-closes: the peer reads EOF, and can still answer.
func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("a %T cannot be half-closed", conn)
	}
	return half.CloseWrite()
}

// torn writes each byte by itself. Go's TCP connections have Nagle's algorithm off, so most travel alone.
type torn struct{ net.Conn }

func (t torn) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := t.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func (t torn) CloseWrite() error { return closeWrite(t.Conn) }

// tornListener makes its connections write byte by byte.
type tornListener struct{ net.Listener }

func (l tornListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return torn{conn}, nil
}

// endpoint is where and how a client connects.
type endpoint struct {
	network, address string
	// connectPath and connected are the path of an HTTP CONNECT and the status that answers it; empty without HTTP.
	connectPath, connected string
	byteByByte             bool
}

func (e endpoint) dial() (net.Conn, error) {
	conn, err := net.DialTimeout(e.network, e.address, handshakeWithin)
	if err != nil {
		return nil, err
	}
	if e.byteByByte {
		conn = torn{conn}
	}
	if e.connectPath == "" {
		return conn, nil
	}
	raw, err := connect(conn, e.connectPath, e.connected)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return raw, nil
}

// connect asks an HTTP server for a raw stream, in the words of Go's net/rpc: bare line feeds and no Host.
func connect(conn net.Conn, path, status string) (net.Conn, error) {
	if err := conn.SetReadDeadline(time.Now().Add(handshakeWithin)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "CONNECT "+path+" HTTP/1.0\n\n"); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, fmt.Errorf("no HTTP answer to CONNECT %s: %w", path, err)
	}
	if response.Status != status {
		return nil, fmt.Errorf("CONNECT %s was answered with status %q, not %q", path, response.Status, status)
	}
	return stream{conn, reader}, conn.SetReadDeadline(time.Time{})
}

// acceptConnect answers CONNECT with the status line alone and hands the raw stream on; 405 to anything else.
func acceptConnect(status string, handle func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodConnect {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusMethodNotAllowed)
			_, _ = io.WriteString(w, "405 must CONNECT\n")
			return
		}
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if _, err := io.WriteString(conn, "HTTP/1.0 "+status+"\n\n"); err != nil {
			conn.Close()
			return
		}
		handle(stream{conn, buffered.Reader})
	}
}
