package main

// TinyRPC's protocol: the Option that opens a connection, its acknowledgement, and the two codecs of headers and bodies.
// Not here: who calls what (tinyclient.go, tinyserver.go).

import (
	"bufio"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	tinyMagic     = 0x3bef5c
	tinyGob       = "application/gob"
	tinyJSON      = "application/json"
	tinyPath      = "/_tinyrpc_"
	tinyConnected = "200 Connected to RPC"

	// geerpc's protocol is TinyRPC's without the acknowledgement.
	geePath      = "/_geeprc_"
	geeConnected = "200 Connected to Gee RPC"
)

// option opens a connection, as one JSON value each way: the client's wish, and the server's echo of it.
type option struct {
	MagicNumber    int
	CodecType      string
	ConnectTimeout time.Duration
	HandleTimeout  time.Duration
}

// header precedes every body, in both directions.
type header struct {
	ServiceMethod string
	Seq           uint64
	Error         string
}

// codec turns headers and bodies into bytes and back. Writes of concurrent callers must not overlap.
type codec interface {
	readHeader(*header) error
	// readBody reads into a pointer; nil skips the body.
	readBody(any) error
	write(header, any) error
}

// newCodec answers nil for a codec type nobody knows.
func newCodec(codecType string, reader io.Reader, writer io.Writer) codec {
	buffered := bufio.NewWriter(writer)
	switch codecType {
	case tinyGob:
		return &gobCodec{gob.NewDecoder(reader), gob.NewEncoder(buffered), buffered}
	case tinyJSON:
		return &jsonCodec{json.NewDecoder(reader), json.NewEncoder(buffered), buffered}
	default:
		return nil
	}
}

type gobCodec struct {
	decoder *gob.Decoder
	encoder *gob.Encoder
	buffer  *bufio.Writer
}

func (c *gobCodec) readHeader(h *header) error { return c.decoder.Decode(h) }
func (c *gobCodec) readBody(body any) error    { return c.decoder.Decode(body) }
func (c *gobCodec) write(h header, body any) error {
	return writeMessage(c.encoder, c.buffer, h, body)
}

type jsonCodec struct {
	decoder *json.Decoder
	encoder *json.Encoder
	buffer  *bufio.Writer
}

func (c *jsonCodec) readHeader(h *header) error { return c.decoder.Decode(h) }
func (c *jsonCodec) readBody(body any) error {
	if body == nil {
		body = new(json.RawMessage)
	}
	return c.decoder.Decode(body)
}
func (c *jsonCodec) write(h header, body any) error {
	return writeMessage(c.encoder, c.buffer, h, body)
}

// writeMessage sends header and body in one write.
func writeMessage(encoder interface{ Encode(any) error }, buffer *bufio.Writer, h header, body any) error {
	if err := encoder.Encode(h); err != nil {
		return err
	}
	if err := encoder.Encode(body); err != nil {
		return err
	}
	return buffer.Flush()
}

// offer opens a client's connection: it sends the Option and waits for the echo.
func offer(conn net.Conn, wish option) (echo option, rest io.Reader, err error) {
	if err := json.NewEncoder(conn).Encode(wish); err != nil {
		return option{}, nil, err
	}
	return readOption(conn)
}

// accept opens a server's connection: it reads the Option, judges it and echoes it, but not to a client of geerpc. A
// refused client gets no answer.
func accept(conn net.Conn, onlyJSON, gee bool) (option, codec, error) {
	wish, rest, err := readOption(conn)
	if err != nil {
		return option{}, nil, err
	}
	if wish.MagicNumber != tinyMagic {
		return option{}, nil, fmt.Errorf("magic number %#x", wish.MagicNumber)
	}
	chosen := newCodec(wish.CodecType, rest, conn)
	if chosen == nil || onlyJSON && wish.CodecType != tinyJSON {
		return option{}, nil, fmt.Errorf("codec %q is not offered", wish.CodecType)
	}
	if gee {
		return wish, chosen, nil
	}
	return wish, chosen, json.NewEncoder(conn).Encode(wish)
}

func readOption(conn net.Conn) (option, io.Reader, error) {
	if err := conn.SetReadDeadline(time.Now().Add(handshakeWithin)); err != nil {
		return option{}, nil, err
	}
	var read option
	decoder := json.NewDecoder(conn)
	if err := decoder.Decode(&read); err != nil {
		return option{}, nil, fmt.Errorf("no option: %w", err)
	}
	// What the decoder read ahead belongs to the codec.
	rest := bufio.NewReader(io.MultiReader(decoder.Buffered(), conn))
	return read, &afterOption{reader: rest}, conn.SetReadDeadline(time.Time{})
}

// afterOption drops the line feed that ends an Option. It may come in a packet of its own, so it can only be looked for
// when the next bytes are wanted; neither codec begins with one.
type afterOption struct {
	reader  *bufio.Reader
	started bool
}

func (a *afterOption) Read(p []byte) (int, error) {
	if !a.started {
		first, err := a.reader.ReadByte()
		if err != nil {
			return 0, err
		}
		if first != '\n' {
			if err := a.reader.UnreadByte(); err != nil {
				return 0, err
			}
		}
		a.started = true
	}
	return a.reader.Read(p)
}
