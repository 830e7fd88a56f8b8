package main

// TinyRPC's HTTP registry: the registry itself, the heartbeat of a server and the question of a client.

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"
)

const (
	registryPath = tinyPath + "/registry"
	// The names as Go writes them; a reader must not mind the case.
	serversHeader = "X-Tinyrpc-Servers"
	serverHeader  = "X-Tinyrpc-Server"
)

// registryCommand also prints a line for each heartbeat it takes, so that a test can wait for one.
func registryCommand(args []string) error {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	address := flags.String("addr", "", "where to listen")
	ttl := flags.Duration("ttl", 5*time.Minute, "how long a heartbeat counts; 0 is for ever")
	if err := parse(flags, args); err != nil {
		return err
	}
	listener, err := listen("tcp", *address)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String() + registryPath
	return serve(listener, fields{"url": url}, func(listener net.Listener) {
		paths := http.NewServeMux()
		paths.Handle(registryPath, &registry{ttl: *ttl, beats: make(map[string]time.Time)})
		_ = http.Serve(listener, paths)
	})
}

// registry remembers each server's last heartbeat.
type registry struct {
	ttl time.Duration

	sync.Mutex
	beats map[string]time.Time
}

func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	switch request.Method {
	case http.MethodGet:
		w.Header().Set(serversHeader, strings.Join(r.alive(), ","))
	case http.MethodPost:
		server := request.Header.Get(serverHeader)
		if server == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		r.Lock()
		r.beats[server] = time.Now()
		r.Unlock()
		emit(fields{"heartbeat": server})
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// alive answers the servers whose heartbeat still counts, sorted, and forgets the others.
func (r *registry) alive() []string {
	r.Lock()
	defer r.Unlock()
	servers := []string{}
	for server, last := range r.beats {
		if r.ttl > 0 && time.Since(last) > r.ttl {
			delete(r.beats, server)
			continue
		}
		servers = append(servers, server)
	}
	sort.Strings(servers)
	return servers
}

func heartbeatCommand(args []string) error {
	flags := flag.NewFlagSet("heartbeat", flag.ContinueOnError)
	url := flags.String("registry", "", "URL of the registry")
	advertise := flags.String("advertise", "", "the server's address")
	every := flags.Duration("every", time.Second, "time between heartbeats")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *url == "" || *advertise == "" {
		return fmt.Errorf("%w: -registry and -advertise are needed", errUsage)
	}
	end := watchForEnd()
	go beat(*url, *advertise, *every, func(err error) {
		if err != nil {
			emit(fields{"beat": *advertise, "ok": false, "detail": err.Error()})
			return
		}
		emit(fields{"beat": *advertise, "ok": true})
	})
	<-end
	return nil
}

var registryClient = http.Client{Timeout: 5 * time.Second}

// beat sends heartbeats until the process ends, whatever becomes of them, and tells of each.
func beat(url, server string, every time.Duration, told func(error)) {
	for {
		told(beatOnce(url, server))
		time.Sleep(every)
	}
}

func beatOnce(url, server string) error {
	request, err := http.NewRequest(http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set(serverHeader, server)
	response, err := registryClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the registry answered a heartbeat with %s", response.Status)
	}
	return nil
}

func discoverCommand(args []string) error {
	flags := flag.NewFlagSet("discover", flag.ContinueOnError)
	var url string
	if err := parse(flags, args, &url); err != nil {
		return err
	}
	response, err := registryClient.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	servers := []string{}
	for _, server := range strings.Split(response.Header.Get(serversHeader), ",") {
		if server != "" {
			servers = append(servers, server)
		}
	}
	emit(fields{"servers": servers, "status": response.StatusCode, "body_len": len(body)})
	if response.StatusCode != http.StatusOK {
		return errFailed
	}
	return nil
}
