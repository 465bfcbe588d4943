package usher

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "usher.dev/client-go/usher/v1"
)

// WithConnect speaks the Connect protocol over HTTP/1.1, to the sidecar's connect_address, instead of gRPC. All but
// ListKeys, RotateKeys and RevokeKey, which are on the admin address, is the same.
func WithConnect() Option { return func(c *Client) { c.connect = true } }

// connectConn is what the generated stubs want of a connection, by the Connect protocol.
type connectConn struct {
	methods map[string]*connect.Client[octets, octets]
	http    *turns
	open    context.Context
	end     context.CancelFunc
}

func newConnectConn(targets []string, config *tls.Config) *connectConn {
	open, end := context.WithCancel(context.Background())
	conn := &connectConn{map[string]*connect.Client[octets, octets]{}, newTurns(open, targets, config), open, end}
	options := []connect.ClientOption{
		connect.WithCodec(codec{}),
		connect.WithReadMaxBytes(maxMessage),
		connect.WithAcceptCompression("gzip", nil, nil), // the sidecar has none
	}
	for _, service := range []grpc.ServiceDesc{
		pb.TokenService_ServiceDesc, pb.QueryService_ServiceDesc, pb.KeyService_ServiceDesc,
	} {
		names := []string{}
		for _, method := range service.Methods {
			names = append(names, method.MethodName)
		}
		for _, stream := range service.Streams {
			names = append(names, stream.StreamName)
		}
		for _, name := range names {
			path := "/" + service.ServiceName + "/" + name
			conn.methods[path] = connect.NewClient[octets, octets](conn.http, conn.http.url+path, options...)
		}
	}
	return conn
}

// Invoke runs a call with one answer.
func (c *connectConn) Invoke(ctx context.Context, method string, request, reply any, _ ...grpc.CallOption) error {
	ctx, cancel := c.whileOpen(ctx)
	defer cancel()
	sent, err := outgoing(ctx, request)
	if err != nil {
		return err
	}
	answer, err := c.methods[method].CallUnary(ctx, sent)
	if err != nil {
		return asStatus(ctx, err)
	}
	return answer.Msg.into(reply)
}

// NewStream begins a call with many answers. Its request is what SendMsg is given; it ends with its context.
func (c *connectConn) NewStream(
	ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, cancel := c.whileOpen(ctx)
	context.AfterFunc(ctx, cancel)
	return &connectStream{ctx: ctx, method: c.methods[method]}, nil
}

// whileOpen is the context, which ends with the connection too.
func (c *connectConn) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	forget := context.AfterFunc(c.open, cancel)
	return ctx, func() { forget(); cancel() }
}

// Close ends the calls under way, and the connections.
func (c *connectConn) Close() error {
	c.end()
	c.http.close()
	return nil
}

// connectStream is the stream of one call.
type connectStream struct {
	grpc.ClientStream // what no caller here asks for
	ctx               context.Context
	method            *connect.Client[octets, octets]
	answers           *connect.ServerStreamForClient[octets]
}

// SendMsg sends the request.
func (s *connectStream) SendMsg(request any) error {
	sent, err := outgoing(s.ctx, request)
	if err != nil {
		return err
	}
	if s.answers, err = s.method.CallServerStream(s.ctx, sent); err != nil {
		return asStatus(s.ctx, err)
	}
	return nil
}

// CloseSend has nothing to do: the request was whole.
func (s *connectStream) CloseSend() error { return nil }

// RecvMsg gives the next answer; after the last one io.EOF.
func (s *connectStream) RecvMsg(reply any) error {
	if s.answers.Receive() {
		return s.answers.Msg().into(reply)
	}
	err := s.answers.Err()
	_ = s.answers.Close()
	if err == nil {
		return io.EOF
	}
	return asStatus(s.ctx, err)
}

// octets are a message as it is sent: the stubs know its type, Connect need not.
type octets struct{ sent []byte }

func (o *octets) into(message any) error {
	if err := proto.Unmarshal(o.sent, message.(proto.Message)); err != nil {
		return status.Error(codes.Internal, "the answer could not be read")
	}
	return nil
}

func outgoing(ctx context.Context, message any) (*connect.Request[octets], error) {
	sent, err := proto.Marshal(message.(proto.Message))
	if err != nil { // which may quote what was to be sent
		return nil, status.Error(codes.Internal, "the request could not be sent")
	}
	request := connect.NewRequest(&octets{sent})
	headers, _ := metadata.FromOutgoingContext(ctx)
	for name, values := range headers {
		for _, value := range values {
			request.Header().Add(name, value)
		}
	}
	return request, nil
}

// codec hands octets through, as protobuf.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message any) ([]byte, error) { return message.(*octets).sent, nil }

func (codec) Unmarshal(data []byte, message any) error {
	message.(*octets).sent = bytes.Clone(data) // the buffer is used again
	return nil
}

// asStatus is the gRPC status of a call that failed.
func asStatus(ctx context.Context, err error) error {
	var failed *connect.Error
	if !errors.As(err, &failed) {
		return status.Error(codes.Unknown, err.Error())
	}
	made := &spb.Status{Code: int32(failed.Code()), Message: failed.Message()}
	for _, detail := range failed.Details() {
		made.Details = append(made.Details, &anypb.Any{TypeUrl: "type.googleapis.com/" + detail.Type(), Value: detail.Bytes()})
	}
	if !connect.IsWireError(err) { // nothing that the sidecar said
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		var network net.Error
		ended := errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF)
		if code := failed.Code(); ended || code == connect.CodeCanceled || code == connect.CodeDeadlineExceeded {
			made.Code = int32(codes.Unavailable)
		}
	}
	return status.FromProto(made).Err()
}
