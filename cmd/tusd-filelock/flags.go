package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/hooks"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// config is what the flags say. parseFlags returns it checked and completed.
type config struct {
	host, port, unixSock   string
	basePath               string
	behindProxy, enableH2C bool

	tlsCert, tlsKey, tlsMode string

	experimentalProtocol                                      bool
	disableDownload, disableTermination, disableConcatenation bool
	maxSize                                                   int64

	cors corsConfig

	uploadDir           string
	dirPerms, filePerms permissions
	holderPollInterval  time.Duration
	acquirerPoll        time.Duration
	shareReads          bool

	hooks hookConfig

	exposeMetrics                     bool
	metricsPath                       string
	exposePprof                       bool
	pprofPath, pprofUser, pprofSecret string
	blockProfileRate, mutexProfile    int
	showGreeting, showStartupLogs     bool
	showVersion                       bool
	verbose, verboseGiven             bool
	logFormat                         string

	networkTimeout, shutdownTimeout       time.Duration
	acquireLockTimeout, completionTimeout time.Duration
}

type corsConfig struct {
	disable, allowCredentials               bool
	allowOrigin, allowMethods, allowHeaders string
	exposeHeaders, maxAge                   string
}

type hookConfig struct {
	events           string
	enabled          []hooks.HookType
	progressInterval time.Duration

	dir string

	http struct {
		endpoint, forwardHeaders string
		retry                    int
		backoff, timeout         time.Duration
		sizeLimit                int64
		skipVerify               bool
	}
	grpc struct {
		endpoint, forwardHeaders          string
		retry                             int
		backoff                           time.Duration
		secure                            bool
		serverCert, clientCert, clientKey string
	}
	plugin string
}

// permissions is a file mode that is written and read in octal.
type permissions fs.FileMode

func (p *permissions) String() string { return strconv.FormatUint(uint64(*p), 8) }

func (p *permissions) Set(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return fmt.Errorf("not an octal number")
	}
	*p = permissions(n)
	return nil
}

// mode returns the permission bits; others have no meaning in a fs.FileMode.
func (p permissions) mode() fs.FileMode { return fs.FileMode(p) & fs.ModePerm }

// group is a heading of the help and the flags below it.
type group struct {
	name  string
	flags *flag.FlagSet
}

func (c *config) groups() []group {
	c.dirPerms, c.filePerms = filestore.DefaultDirPerm, filestore.DefaultFilePerm
	var groups []group
	for _, g := range []struct {
		name   string
		define func(*flag.FlagSet)
	}{
		{"Listening options", c.listenFlags},
		{"TLS options", c.tlsFlags},
		{"Upload protocol options", c.protocolFlags},
		{"CORS options", c.cors.define},
		{"File storage option", c.storageFlags},
		{"General hook options", c.hooks.defineGeneral},
		{"File hook options", c.hooks.defineFile},
		{"HTTP hook options", c.hooks.defineHTTP},
		{"gRPC hook options", c.hooks.defineGRPC},
		{"Plugin hook options", c.hooks.definePlugin},
		{"Monitoring, profiling, logging options", c.monitoringFlags},
		{"Timeout options", c.timeoutFlags},
	} {
		flags := flag.NewFlagSet(g.name, flag.ContinueOnError)
		g.define(flags)
		groups = append(groups, group{g.name, flags})
	}
	return groups
}

// parseFlags returns flag.ErrHelp for -help, and else an error that names the
// flag at fault. It neither creates nor opens anything.
func parseFlags(args []string) (*config, error) {
	cfg := &config{}
	all := flag.NewFlagSet(program, flag.ContinueOnError)
	all.SetOutput(io.Discard)
	for _, g := range cfg.groups() {
		g.flags.VisitAll(func(f *flag.Flag) { all.Var(f.Value, f.Name, f.Usage) })
	}
	if err := all.Parse(args); err != nil {
		return nil, err
	}
	if all.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: everything is set by flags", all.Arg(0))
	}
	all.Visit(func(f *flag.Flag) {
		if f.Name == "verbose" {
			cfg.verboseGiven = cfg.verbose
		}
	})
	if err := cfg.check(all); err != nil {
		return nil, err
	}
	return cfg, nil
}

func printHelp(w io.Writer) {
	fmt.Fprintf(w, "Usage of %s:\n\n", program)
	for _, g := range new(config).groups() {
		var list bytes.Buffer
		g.flags.SetOutput(&list)
		g.flags.PrintDefaults()
		fmt.Fprintf(w, "%s:\n%s\n", g.name, list.String())
	}
}

func (c *config) listenFlags(f *flag.FlagSet) {
	f.StringVar(&c.host, "host", "0.0.0.0", "Address or host name to listen on")
	f.StringVar(&c.port, "port", "8080", "Port to listen on; 0 takes a free one, which is printed at start-up")
	f.StringVar(&c.unixSock, "unix-sock", "", "Listen on a UNIX socket at this path, and on no port")
	f.StringVar(&c.basePath, "base-path", "/files/", "URL path below which uploads are served")
	f.BoolVar(&c.behindProxy, "behind-proxy", false, "Trust Forwarded and X-Forwarded-* headers when making upload URLs")
	f.BoolVar(&c.enableH2C, "enable-h2c", false, "Accept HTTP/2 without TLS (h2c) beside HTTP/1.1")
}

func (c *config) tlsFlags(f *flag.FlagSet) {
	f.StringVar(&c.tlsCert, "tls-certificate", "", "File with the certificate in PEM form, followed by its intermediate certificates")
	f.StringVar(&c.tlsKey, "tls-key", "", "File with the certificate's private key in PEM form")
	f.StringVar(&c.tlsMode, "tls-mode", tls12, "Which TLS to speak: tls13 (1.3 only), tls12 (1.2 and later), tls12-strong (1.2 with 256-bit ciphers, HTTP/1.1 only)")
}

func (c *config) protocolFlags(f *flag.FlagSet) {
	f.BoolVar(&c.experimentalProtocol, "enable-experimental-protocol", false, "Also speak the IETF draft for resumable uploads (experimental in tusd)")
	f.BoolVar(&c.disableDownload, "disable-download", false, "Refuse GET requests for uploads")
	f.BoolVar(&c.disableTermination, "disable-termination", false, "Refuse DELETE requests for uploads")
	f.BoolVar(&c.disableConcatenation, "disable-concatenation", false, "Refuse uploads that are put together from partial ones")
	f.Int64Var(&c.maxSize, "max-size", 0, "Most bytes that one upload may have; 0 is no limit")
}

func (c *corsConfig) define(f *flag.FlagSet) {
	f.BoolVar(&c.disable, "disable-cors", false, "Send no CORS headers")
	f.StringVar(&c.allowOrigin, "cors-allow-origin", ".*", "Regular expression that an Origin header has to match to be allowed")
	f.BoolVar(&c.allowCredentials, "cors-allow-credentials", false, "Send Access-Control-Allow-Credentials: true")
	f.StringVar(&c.allowMethods, "cors-allow-methods", "", "More methods for Access-Control-Allow-Methods, separated by commas")
	f.StringVar(&c.allowHeaders, "cors-allow-headers", "", "More headers for Access-Control-Allow-Headers, separated by commas")
	f.StringVar(&c.maxAge, "cors-max-age", "86400", "Value of Access-Control-Max-Age: how many seconds a browser may keep a CORS answer")
	f.StringVar(&c.exposeHeaders, "cors-expose-headers", "", "More headers for Access-Control-Expose-Headers, separated by commas")
}

func (c *config) storageFlags(f *flag.FlagSet) {
	f.StringVar(&c.uploadDir, "upload-dir", "./data", "Directory of the uploads and their locks; created if missing")
	f.DurationVar(&c.holderPollInterval, "filelock-holder-poll-interval", filelocker.DefaultHolderPollInterval, "How often the holder of a lock looks for a release request where the system does not report one")
	f.DurationVar(&c.acquirerPoll, "filelock-acquirer-poll-interval", filelocker.DefaultAcquirerPollInterval, "How often a waiting request tries again where the system does not report a free lock")
	f.BoolVar(&c.shareReads, "share-reads", true, "Let GET and HEAD requests share the lock of their upload; a write or a DELETE ends the downloads. If false, each of them takes the lock alone")
	f.Var(&c.dirPerms, "dir-perms", "Permissions of created directories, in octal")
	f.Var(&c.filePerms, "file-perms", "Permissions of created files, in octal")
}

func (c *hookConfig) defineGeneral(f *flag.FlagSet) {
	f.StringVar(&c.events, "hooks-enabled-events", "pre-create,post-create,post-receive,post-terminate,post-finish", "Hook events to send, separated by commas; an empty list means all of them")
	f.DurationVar(&c.progressInterval, "progress-hooks-interval", time.Second, "How often a running upload sends the post-receive event")
}

func (c *hookConfig) defineFile(f *flag.FlagSet) {
	f.StringVar(&c.dir, "hooks-dir", "", "Directory with programs that are named after the events they handle")
}

func (c *hookConfig) defineHTTP(f *flag.FlagSet) {
	f.StringVar(&c.http.endpoint, "hooks-http", "", "URL to which events are posted")
	f.StringVar(&c.http.forwardHeaders, "hooks-http-forward-headers", "", "Headers of the client's request to pass on to the hook, separated by commas")
	f.IntVar(&c.http.retry, "hooks-http-retry", 3, "How often to try again after a status 500 or a timeout")
	f.DurationVar(&c.http.backoff, "hooks-http-backoff", time.Second, "Pause before each retry")
	f.DurationVar(&c.http.timeout, "hooks-http-timeout", 15*time.Second, "Longest wait for the hook's answer")
	f.Int64Var(&c.http.sizeLimit, "hooks-http-size-limit", 5*1024, "Most bytes that the hook's answer may have")
	f.BoolVar(&c.http.skipVerify, "hooks-http-skip-verify", false, "Accept any TLS certificate from the hook's URL")
}

func (c *hookConfig) defineGRPC(f *flag.FlagSet) {
	f.StringVar(&c.grpc.endpoint, "hooks-grpc", "", "gRPC target to which events are sent")
	f.IntVar(&c.grpc.retry, "hooks-grpc-retry", 3, "How often to try again after a server error or a timeout")
	f.DurationVar(&c.grpc.backoff, "hooks-grpc-backoff", time.Second, "Pause before each retry")
	f.BoolVar(&c.grpc.secure, "hooks-grpc-secure", false, "Use TLS to the gRPC target")
	f.StringVar(&c.grpc.serverCert, "hooks-grpc-server-tls-certificate", "", "File with the certificate that the gRPC target has to present")
	f.StringVar(&c.grpc.clientCert, "hooks-grpc-client-tls-certificate", "", "File with the certificate to present to the gRPC target")
	f.StringVar(&c.grpc.clientKey, "hooks-grpc-client-tls-key", "", "File with the private key of that certificate")
	f.StringVar(&c.grpc.forwardHeaders, "hooks-grpc-forward-headers", "", "Headers of the client's request to pass on to the hook, separated by commas")
}

func (c *hookConfig) definePlugin(f *flag.FlagSet) {
	f.StringVar(&c.plugin, "hooks-plugin", "", "Program that handles events as a plugin of tusd")
}

func (c *config) monitoringFlags(f *flag.FlagSet) {
	f.BoolVar(&c.exposeMetrics, "expose-metrics", true, "Serve metrics for Prometheus")
	f.StringVar(&c.metricsPath, "metrics-path", "/metrics", "URL path of the metrics")
	f.BoolVar(&c.exposePprof, "expose-pprof", false, "Serve profiles of the running program; TUSD_PPROF_AUTH=user:password in the environment protects them")
	f.StringVar(&c.pprofPath, "pprof-path", "/debug/pprof/", "URL path of the profiles")
	f.IntVar(&c.blockProfileRate, "pprof-block-profile-rate", 0, "Sampling rate of the block profile, see runtime.SetBlockProfileRate")
	f.IntVar(&c.mutexProfile, "pprof-mutex-profile-rate", 0, "Sampling rate of the mutex profile, see runtime.SetMutexProfileFraction")
	f.BoolVar(&c.showGreeting, "show-greeting", true, "Answer requests to the root path with a short text")
	f.BoolVar(&c.showVersion, "version", false, "Print the version and exit")
	f.BoolVar(&c.verbose, "verbose", true, "Log more; given explicitly, log every step of the locks too")
	f.BoolVar(&c.showStartupLogs, "show-startup-logs", true, "Print the settings in use at start-up")
	f.StringVar(&c.logFormat, "log-format", logText, "Format of the log: text or json")
}

func (c *config) timeoutFlags(f *flag.FlagSet) {
	f.DurationVar(&c.networkTimeout, "network-timeout", 60*time.Second, "How long a connection may be silent before it counts as dead")
	f.DurationVar(&c.shutdownTimeout, "shutdown-timeout", 10*time.Second, "How long running requests may take to end after a signal before their connections are closed")
	f.DurationVar(&c.acquireLockTimeout, "acquire-lock-timeout", 20*time.Second, "How long a request waits for the lock of its upload")
	f.DurationVar(&c.completionTimeout, "request-completion-timeout", 10*time.Second, "How long storage and hooks may go on after their request has ended")
}
