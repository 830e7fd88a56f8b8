package main

// Every client against every server, as the processes that other tests start: this test binary runs as gopeer when told to.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const asGopeer = "RUN_AS_GOPEER"

func TestMain(m *testing.M) {
	if os.Getenv(asGopeer) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func gopeer(args ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], args...)
	command.Env = append(os.Environ(), asGopeer+"=1")
	command.Stderr = os.Stderr
	return command
}

// process is a running server, with its first line read.
type process struct {
	t       *testing.T
	command *exec.Cmd
	stdin   io.Closer
	lines   *bufio.Scanner
	first   map[string]any
}

// start starts a server; it ends with the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	command := gopeer(args...)
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	started := &process{t: t, command: command, stdin: stdin, lines: bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		stdin.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("%v ended with %v", args, err)
		}
	})
	started.first = started.line()
	return started
}

func (p *process) line() map[string]any {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("no line: %v", p.lines.Err())
	}
	var line map[string]any
	if err := json.Unmarshal(p.lines.Bytes(), &line); err != nil {
		p.t.Fatalf("%q: %v", p.lines.Text(), err)
	}
	return line
}

func (p *process) address() string {
	p.t.Helper()
	address, ok := p.first["listening"].(string)
	if !ok {
		p.t.Fatalf("no address in %v", p.first)
	}
	return address
}

// run runs a client to its end and answers what it printed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	printed, err := gopeer(args...).Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, onlyFailed(string(printed)))
	}
	if len(printed) == 0 {
		t.Fatalf("%v printed nothing", args)
	}
	return string(printed)
}

func onlyFailed(printed string) string {
	var failed []string
	for _, line := range strings.Split(printed, "\n") {
		if !strings.Contains(line, `"ok":true`) {
			failed = append(failed, line)
		}
	}
	return strings.Join(failed, "\n")
}

var everyScenario = []string{"basic", "kinds", "interfaces", "large", "errors", "concurrent"}

func without(scenarios []string, dropped string) (kept []string) {
	for _, scenario := range scenarios {
		if scenario != dropped {
			kept = append(kept, scenario)
		}
	}
	return kept
}

func TestTinyClientsAndServersAgree(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "tiny")
	scenarios := append([]string{"handshake", "timeout", "halfclose", "pipelined"}, everyScenario...)
	// Interface values are gob's, and four million writes are too many.
	for _, variant := range []struct {
		name           string
		server, client []string
		scenarios      []string
	}{
		{"tcp", nil, nil, scenarios},
		{"unix", []string{"-net", "unix", "-addr", socket}, []string{"-unix"}, scenarios},
		{"http", []string{"-http"}, []string{"-http"}, append([]string{"http"}, scenarios...)},
		{"json", nil, []string{"-json"}, without(scenarios, "interfaces")},
		{"geerpc", []string{"-gee"}, []string{"-gee"}, without(scenarios, "handshake")},
		{"geerpc over http", []string{"-gee", "-http"}, []string{"-gee", "-http"}, []string{"basic", "errors"}},
		{"json only", []string{"-codec-json"}, []string{"-json"}, []string{"basic", "handshake"}},
		{"byte by byte", []string{"-byte-by-byte"}, []string{"-byte-by-byte"}, without(scenarios, "large")},
		{"byte by byte over http", []string{"-byte-by-byte", "-http"}, []string{"-byte-by-byte", "-http"}, []string{"basic", "handshake", "http"}},
		{"byte by byte in json", []string{"-byte-by-byte"}, []string{"-byte-by-byte", "-json"}, []string{"basic", "errors"}},
	} {
		variant := variant
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			server := start(t, append([]string{"tiny-server"}, variant.server...)...)
			for _, scenario := range variant.scenarios {
				client := append([]string{"tiny-client", server.address()}, variant.client...)
				run(t, append(client, scenario)...)
			}
		})
	}
}

func TestNetrpcClientsAndServersAgree(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "netrpc")
	scenarios := append([]string{"mismatch", "close", "transcript"}, everyScenario...)
	for _, variant := range []struct {
		name           string
		server, client []string
		scenarios      []string
	}{
		{"tcp", nil, nil, scenarios},
		{"unix", []string{"-net", "unix", "-addr", socket}, []string{"-unix"}, scenarios},
		{"http", []string{"-http"}, []string{"-http"}, append([]string{"http"}, scenarios...)},
		{"json", []string{"-json"}, []string{"-json"}, without(scenarios, "interfaces")},
	} {
		variant := variant
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			server := start(t, append([]string{"netrpc-server"}, variant.server...)...)
			for _, scenario := range variant.scenarios {
				client := append([]string{"netrpc-client", server.address()}, variant.client...)
				run(t, append(client, scenario)...)
			}
		})
	}
}

func TestTranscriptsOfTheSameServerAreTheSame(t *testing.T) {
	raw, overHTTP := start(t, "netrpc-server"), start(t, "netrpc-server", "-http")
	first := run(t, "netrpc-client", raw.address(), "transcript")
	if lines := strings.Count(first, "\n"); lines < 60 {
		t.Errorf("only %d calls", lines)
	}
	for _, text := range []string{`"error":null`, "divide by zero", "rpc: can't find service Nope.Sum", `"error":"(undecodable)"`} {
		if !strings.Contains(first, text) {
			t.Errorf("no %s in the transcript", text)
		}
	}
	if again := run(t, "netrpc-client", overHTTP.address(), "-http", "transcript"); again != first {
		t.Errorf("first\n%s\nthen\n%s", first, again)
	}
}

func TestScenariosFailAgainstAPeerThatAnswersWrongly(t *testing.T) {
	tiny, netrpc := start(t, "tiny-server"), start(t, "netrpc-server")
	for _, args := range [][]string{
		{"tiny-client", netrpc.address(), "-json", "-within", "2s", "basic"},
		{"netrpc-client", tiny.address(), "-within", "2s", "basic"},
		{"netrpc-client", tiny.address(), "http"},
		// A server that takes JSON alone refuses gob.
		{"tiny-client", start(t, "tiny-server", "-codec-json").address(), "basic"},
		// And one that speaks no HTTP cannot be asked to CONNECT.
		{"tiny-client", tiny.address(), "-http", "-within", "2s", "basic"},
	} {
		printed, err := gopeer(args...).Output()
		if failed, ok := err.(*exec.ExitError); !ok || failed.ExitCode() != 1 || !bytes.Contains(printed, []byte(`"ok":false`)) {
			t.Errorf("%v: %v\n%s", args, err, printed)
		}
	}
}

func TestWrongCommandLinesAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{}, {"nonsense"}, {"tiny-client"}, {"tiny-client", "x:1"}, {"netrpc-client", "x:1", "nonsense"}, {"echo-proxy"},
		{"netrpc-server", "-http", "-json"}, {"netrpc-server", "-net", "unix"}, {"heartbeat"}, {"discover"},
		{"bench-client", "x:1", "-proto", "nonsense"},
	} {
		command := gopeer(args...)
		command.Stderr = nil
		if failed, ok := command.Run().(*exec.ExitError); !ok || failed.ExitCode() != 2 {
			t.Errorf("%v is not refused", args)
		}
	}
}

func TestProxyTearsMessagesApartUnharmed(t *testing.T) {
	server := start(t, "netrpc-server")
	proxy := start(t, "echo-proxy", "-to", server.address())
	for _, scenario := range []string{"basic", "errors", "close"} {
		run(t, "netrpc-client", proxy.address(), scenario)
	}
	tiny := start(t, "tiny-server")
	proxy = start(t, "echo-proxy", "-to", tiny.address())
	for _, scenario := range []string{"handshake", "halfclose", "pipelined"} {
		run(t, "tiny-client", proxy.address(), scenario)
	}
}

func TestHeartbeatsAreListedUntilTheyAge(t *testing.T) {
	registry := start(t, "registry", "-ttl", "2s")
	url := registry.first["url"].(string)
	if got := run(t, "discover", url); !strings.Contains(got, `"servers":[]`) {
		t.Errorf("at first: %s", got)
	}
	beater := start(t, "heartbeat", "-registry", url, "-advertise", "tcp@192.0.2.1:1", "-every", "50ms")
	if beater.first["ok"] != true {
		t.Errorf("the beat: %v", beater.first)
	}
	server := start(t, "tiny-server", "-registry", url, "-advertise", "tcp@192.0.2.1:2", "-beat", "50ms")
	for seen := ""; seen != "tcp@192.0.2.1:2"; {
		seen, _ = registry.line()["heartbeat"].(string)
	}
	if got := run(t, "discover", url); !strings.Contains(got, `"servers":["tcp@192.0.2.1:1","tcp@192.0.2.1:2"]`) {
		t.Errorf("with two servers: %s", got)
	}
	server.stdin.Close()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := run(t, "discover", url)
		if strings.Contains(got, `"servers":["tcp@192.0.2.1:1"]`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("long after one server ended: %s", got)
		}
	}
}

func TestHeartbeatsOutliveTheRegistry(t *testing.T) {
	absent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := absent.Addr().String()
	absent.Close()
	beater := start(t, "heartbeat", "-registry", "http://"+address+registryPath, "-advertise", "tcp@192.0.2.1:1", "-every", "50ms")
	if beater.first["ok"] != false {
		t.Errorf("a beat without a registry: %v", beater.first)
	}
	start(t, "registry", "-addr", address)
	for beat := beater.first; beat["ok"] != true; {
		beat = beater.line()
	}
}

func TestBenchCounts(t *testing.T) {
	for protocol, server := range map[string]string{"netrpc": "netrpc-server", "tiny": "tiny-server"} {
		printed := run(t, "bench-client", start(t, server).address(), "-proto", protocol, "-workers", "8", "-seconds", "0.2")
		var result struct {
			Calls                              int
			Seconds, Calls_per_s, Client_cpu_s float64
		}
		if err := json.Unmarshal([]byte(printed), &result); err != nil {
			t.Fatal(err)
		}
		if result.Calls < 1 || result.Seconds < 0.2 || result.Calls_per_s <= 0 || result.Client_cpu_s <= 0 {
			t.Errorf("%s: %s", protocol, printed)
		}
	}
}

func TestServersEndAtSIGTERM(t *testing.T) {
	for _, name := range []string{"tiny-server", "netrpc-server", "registry"} {
		server := start(t, name)
		if err := server.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if server.lines.Scan() {
			t.Errorf("%s printed %q", name, server.lines.Text())
		}
	}
}
