package main

// A server of TinyRPC's protocol. Not here: its wire format (tinyrpc.go), its services, its registry.

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"
)

func tinyServerCommand(args []string) error {
	flags := flag.NewFlagSet("tiny-server", flag.ContinueOnError)
	network := flags.String("net", "tcp", "tcp or unix")
	address := flags.String("addr", "", "where to listen")
	overHTTP := flags.Bool("http", false, "serve CONNECT "+tinyPath+", or "+geePath)
	gee := flags.Bool("gee", false, "speak geerpc, which acknowledges nothing")
	byteByByte := flags.Bool("byte-by-byte", false, "write each byte by itself")
	onlyJSON := flags.Bool("codec-json", false, "take no codec but "+tinyJSON)
	registry := flags.String("registry", "", "URL of the registry to beat at")
	advertise := flags.String("advertise", "", "the address to beat with; the listener's if empty")
	every := flags.Duration("beat", time.Second, "time between heartbeats")
	if err := parse(flags, args); err != nil {
		return err
	}

	listener, err := listen(*network, *address)
	if err != nil {
		return err
	}
	if *byteByByte {
		listener = tornListener{listener}
	}
	if *registry != "" {
		if *advertise == "" {
			*advertise = *network + "@" + listener.Addr().String()
		}
		go beat(*registry, *advertise, *every, func(err error) {
			if err != nil {
				log.Print(err)
			}
		})
	}
	server := newTinyServer(everyService(), *onlyJSON)
	server.gee = *gee
	return serve(listener, nil, func(listener net.Listener) {
		if *overHTTP {
			paths := http.NewServeMux()
			if *gee {
				paths.HandleFunc(geePath, acceptConnect(geeConnected, server.serveConn))
			} else {
				paths.HandleFunc(tinyPath, acceptConnect(tinyConnected, server.serveConn))
			}
			_ = http.Serve(listener, paths)
			return
		}
		acceptAll(listener, server.serveConn)
	})
}

type tinyServer struct {
	services map[string]reflect.Value
	onlyJSON bool
	gee      bool
}

func newTinyServer(services []any, onlyJSON bool) *tinyServer {
	server := &tinyServer{services: make(map[string]reflect.Value), onlyJSON: onlyJSON}
	for _, service := range services {
		value := reflect.ValueOf(service)
		server.services[value.Elem().Type().Name()] = value
	}
	return server
}

// find answers the method of that name, func(args, *reply) error, or why there is none.
func (s *tinyServer) find(name string) (reflect.Value, error) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return reflect.Value{}, errors.New("rpc server: service/method request ill-formed: " + name)
	}
	service, ok := s.services[name[:dot]]
	if !ok {
		return reflect.Value{}, errors.New("rpc server: can't find service " + name[:dot])
	}
	method := service.MethodByName(name[dot+1:])
	if !method.IsValid() {
		return reflect.Value{}, errors.New("rpc server: can't find method " + name[dot+1:])
	}
	return method, nil
}

// tinyConn is one connection of a server.
type tinyConn struct {
	option  option
	codec   codec
	writing sync.Mutex
}

// serveConn answers the calls of one connection, each in a goroutine of its own, and closes it when the last is answered.
func (s *tinyServer) serveConn(raw net.Conn) {
	defer raw.Close()
	wish, chosen, err := accept(raw, s.onlyJSON, s.gee)
	if err != nil {
		log.Printf("refused %v: %v", raw.RemoteAddr(), err)
		return
	}
	conn := &tinyConn{option: wish, codec: chosen}
	var running sync.WaitGroup
	defer running.Wait()
	for {
		var request header
		if err := conn.codec.readHeader(&request); err != nil {
			return
		}
		method, err := s.find(request.ServiceMethod)
		if err != nil {
			// The body must go, or the next header would be looked for in it.
			_ = conn.codec.readBody(nil)
			conn.reply(request, err, nil)
			continue
		}
		args := reflect.New(method.Type().In(0))
		if err := conn.codec.readBody(args.Interface()); err != nil {
			conn.reply(request, err, nil)
			continue
		}
		running.Add(1)
		go func() {
			defer running.Done()
			conn.handle(request, method, args.Elem())
		}()
	}
}

// handle runs one call, and answers with an error if it takes longer than the client allows.
func (c *tinyConn) handle(request header, method, args reflect.Value) {
	type outcome struct {
		reply any
		err   error
	}
	done := make(chan outcome, 1) // Room for one, so that a late handler can end.
	go func() {
		reply := newReply(method.Type().In(1).Elem())
		err, _ := method.Call([]reflect.Value{args, reply})[0].Interface().(error)
		done <- outcome{reply.Interface(), err}
	}()
	var late <-chan time.Time
	if c.option.HandleTimeout > 0 {
		late = time.After(c.option.HandleTimeout)
	}
	select {
	case result := <-done:
		c.reply(request, result.err, result.reply)
	case <-late:
		text := fmt.Sprintf("rpc server: request handle timeout: expect within %s", c.option.HandleTimeout)
		c.reply(request, errors.New(text), nil)
	}
}

// newReply answers a pointer to a zero value; maps and slices are empty, so that handlers can fill them.
func newReply(kind reflect.Type) reflect.Value {
	reply := reflect.New(kind)
	switch kind.Kind() {
	case reflect.Map:
		reply.Elem().Set(reflect.MakeMap(kind))
	case reflect.Slice:
		reply.Elem().Set(reflect.MakeSlice(kind, 0, 0))
	}
	return reply
}

// reply answers one call. An error travels in the header, and a body must follow all the same: an empty struct.
func (c *tinyConn) reply(request header, failure error, body any) {
	answer := header{ServiceMethod: request.ServiceMethod, Seq: request.Seq}
	if failure != nil {
		answer.Error, body = failure.Error(), struct{}{}
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.codec.write(answer, body); err != nil {
		log.Printf("cannot answer %s: %v", request.ServiceMethod, err)
	}
}
