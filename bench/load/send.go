package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// largest message that an answer may be.
const largest = 64 << 20

// raw is a codec that hands bytes on as they are: what the server costs is measured, not the client.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*int) = data.Len()
	return nil
}

type sender func(number int) (int, string)

// prepare opens the connections of all calls.
func prepare(plan Plan) (Operation, error) {
	var senders []sender
	secure, err := tlsConfig(plan.TLS)
	if err != nil {
		return nil, err
	}
	for _, call := range plan.Calls {
		var one sender
		if call.Kind == "http" {
			one = overHTTP(plan, call)
		} else if one, err = overGRPC(plan, call, secure); err != nil {
			return nil, err
		}
		senders = append(senders, one)
	}
	return func(number int) (int, string) {
		total := 0
		for _, send := range senders {
			size, code := send(number)
			if code != "" {
				return total, code
			}
			total += size
		}
		return total, ""
	}, nil
}

func overGRPC(plan Plan, call Call, secure *tls.Config) (sender, error) {
	var channels []*grpc.ClientConn
	how := insecure.NewCredentials()
	if secure != nil {
		how = credentials.NewTLS(secure)
	}
	addresses := call.addresses()
	for at := range max(len(addresses), plan.Connections) {
		channel, err := grpc.NewClient("passthrough:///"+addresses[at%len(addresses)],
			grpc.WithTransportCredentials(how),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(largest)))
		if err != nil {
			return nil, err
		}
		channels = append(channels, channel)
	}
	headers := metadata.New(call.Headers)
	return func(number int) (int, string) {
		ctx, cancel := deadline(plan)
		defer cancel()
		ctx = metadata.NewOutgoingContext(ctx, headers)
		channel, body := channels[number%len(channels)], call.Bodies[number%len(call.Bodies)]
		size, err := 0, error(nil)
		if call.Kind == "stream" {
			size, err = drain(ctx, channel, call.Path, body)
		} else {
			err = channel.Invoke(ctx, call.Path, body, &size)
		}
		if err != nil {
			return size, status.Code(err).String()
		}
		return size, ""
	}, nil
}

func drain(ctx context.Context, channel *grpc.ClientConn, path string, body []byte) (int, error) {
	stream, err := channel.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return 0, err
	}
	if err := stream.SendMsg(body); err != nil {
		return 0, err
	}
	if err := stream.CloseSend(); err != nil {
		return 0, err
	}
	total := 0
	for {
		size := 0
		if err := stream.RecvMsg(&size); errors.Is(err, io.EOF) {
			return total, nil
		} else if err != nil {
			return total, err
		}
		total += size
	}
}

func overHTTP(plan Plan, call Call) sender {
	many := max(1, plan.Outstanding)
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConns: many, MaxIdleConnsPerHost: many, DisableCompression: true,
	}}
	addresses := call.addresses()
	return func(number int) (int, string) {
		ctx, cancel := deadline(plan)
		defer cancel()
		var body io.Reader
		if len(call.Bodies) > 0 {
			body = bytes.NewReader(call.Bodies[number%len(call.Bodies)])
		}
		address := addresses[number%len(addresses)]
		request, err := http.NewRequestWithContext(ctx, call.Method, "http://"+address+call.Path, body)
		if err != nil {
			return 0, err.Error()
		}
		for name, value := range call.Headers {
			request.Header.Set(name, value)
		}
		answer, err := client.Do(request)
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return 0, "DeadlineExceeded"
			}
			return 0, "Unavailable"
		}
		size, err := io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode >= 300 {
			return int(size), "HTTP " + strconv.Itoa(answer.StatusCode)
		}
		return int(size), ""
	}
}

func deadline(plan Plan) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(plan.Deadline*float64(time.Second)))
}

func tlsConfig(files *Files) (*tls.Config, error) {
	if files == nil {
		return nil, nil
	}
	pem, err := os.ReadFile(files.Authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", files.Authority)
	}
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
