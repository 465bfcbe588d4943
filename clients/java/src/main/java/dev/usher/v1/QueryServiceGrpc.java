package dev.usher.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * QueryService runs SQL on Postgres as an end user: row-level security decides which rows exist.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class QueryServiceGrpc {

  private QueryServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "usher.v1.QueryService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.RunScopedQueryRequest,
      dev.usher.v1.RunScopedQueryResponse> getRunScopedQueryMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RunScopedQuery",
      requestType = dev.usher.v1.RunScopedQueryRequest.class,
      responseType = dev.usher.v1.RunScopedQueryResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.RunScopedQueryRequest,
      dev.usher.v1.RunScopedQueryResponse> getRunScopedQueryMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.RunScopedQueryRequest, dev.usher.v1.RunScopedQueryResponse> getRunScopedQueryMethod;
    if ((getRunScopedQueryMethod = QueryServiceGrpc.getRunScopedQueryMethod) == null) {
      synchronized (QueryServiceGrpc.class) {
        if ((getRunScopedQueryMethod = QueryServiceGrpc.getRunScopedQueryMethod) == null) {
          QueryServiceGrpc.getRunScopedQueryMethod = getRunScopedQueryMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.RunScopedQueryRequest, dev.usher.v1.RunScopedQueryResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RunScopedQuery"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RunScopedQueryRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RunScopedQueryResponse.getDefaultInstance()))
              .setSchemaDescriptor(new QueryServiceMethodDescriptorSupplier("RunScopedQuery"))
              .build();
        }
      }
    }
    return getRunScopedQueryMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.StreamScopedQueryRequest,
      dev.usher.v1.StreamScopedQueryResponse> getStreamScopedQueryMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "StreamScopedQuery",
      requestType = dev.usher.v1.StreamScopedQueryRequest.class,
      responseType = dev.usher.v1.StreamScopedQueryResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<dev.usher.v1.StreamScopedQueryRequest,
      dev.usher.v1.StreamScopedQueryResponse> getStreamScopedQueryMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.StreamScopedQueryRequest, dev.usher.v1.StreamScopedQueryResponse> getStreamScopedQueryMethod;
    if ((getStreamScopedQueryMethod = QueryServiceGrpc.getStreamScopedQueryMethod) == null) {
      synchronized (QueryServiceGrpc.class) {
        if ((getStreamScopedQueryMethod = QueryServiceGrpc.getStreamScopedQueryMethod) == null) {
          QueryServiceGrpc.getStreamScopedQueryMethod = getStreamScopedQueryMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.StreamScopedQueryRequest, dev.usher.v1.StreamScopedQueryResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "StreamScopedQuery"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.StreamScopedQueryRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.StreamScopedQueryResponse.getDefaultInstance()))
              .setSchemaDescriptor(new QueryServiceMethodDescriptorSupplier("StreamScopedQuery"))
              .build();
        }
      }
    }
    return getStreamScopedQueryMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.RunScopedTransactionRequest,
      dev.usher.v1.RunScopedTransactionResponse> getRunScopedTransactionMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RunScopedTransaction",
      requestType = dev.usher.v1.RunScopedTransactionRequest.class,
      responseType = dev.usher.v1.RunScopedTransactionResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.RunScopedTransactionRequest,
      dev.usher.v1.RunScopedTransactionResponse> getRunScopedTransactionMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.RunScopedTransactionRequest, dev.usher.v1.RunScopedTransactionResponse> getRunScopedTransactionMethod;
    if ((getRunScopedTransactionMethod = QueryServiceGrpc.getRunScopedTransactionMethod) == null) {
      synchronized (QueryServiceGrpc.class) {
        if ((getRunScopedTransactionMethod = QueryServiceGrpc.getRunScopedTransactionMethod) == null) {
          QueryServiceGrpc.getRunScopedTransactionMethod = getRunScopedTransactionMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.RunScopedTransactionRequest, dev.usher.v1.RunScopedTransactionResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RunScopedTransaction"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RunScopedTransactionRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RunScopedTransactionResponse.getDefaultInstance()))
              .setSchemaDescriptor(new QueryServiceMethodDescriptorSupplier("RunScopedTransaction"))
              .build();
        }
      }
    }
    return getRunScopedTransactionMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.WhoAmIRequest,
      dev.usher.v1.WhoAmIResponse> getWhoAmIMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WhoAmI",
      requestType = dev.usher.v1.WhoAmIRequest.class,
      responseType = dev.usher.v1.WhoAmIResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.WhoAmIRequest,
      dev.usher.v1.WhoAmIResponse> getWhoAmIMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.WhoAmIRequest, dev.usher.v1.WhoAmIResponse> getWhoAmIMethod;
    if ((getWhoAmIMethod = QueryServiceGrpc.getWhoAmIMethod) == null) {
      synchronized (QueryServiceGrpc.class) {
        if ((getWhoAmIMethod = QueryServiceGrpc.getWhoAmIMethod) == null) {
          QueryServiceGrpc.getWhoAmIMethod = getWhoAmIMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.WhoAmIRequest, dev.usher.v1.WhoAmIResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WhoAmI"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.WhoAmIRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.WhoAmIResponse.getDefaultInstance()))
              .setSchemaDescriptor(new QueryServiceMethodDescriptorSupplier("WhoAmI"))
              .build();
        }
      }
    }
    return getWhoAmIMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static QueryServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<QueryServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<QueryServiceStub>() {
        @java.lang.Override
        public QueryServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new QueryServiceStub(channel, callOptions);
        }
      };
    return QueryServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static QueryServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<QueryServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<QueryServiceBlockingV2Stub>() {
        @java.lang.Override
        public QueryServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new QueryServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return QueryServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static QueryServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<QueryServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<QueryServiceBlockingStub>() {
        @java.lang.Override
        public QueryServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new QueryServiceBlockingStub(channel, callOptions);
        }
      };
    return QueryServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static QueryServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<QueryServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<QueryServiceFutureStub>() {
        @java.lang.Override
        public QueryServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new QueryServiceFutureStub(channel, callOptions);
        }
      };
    return QueryServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * QueryService runs SQL on Postgres as an end user: row-level security decides which rows exist.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * RunScopedQuery runs one statement in a transaction of its own. May be called by any data caller.
     * </pre>
     */
    default void runScopedQuery(dev.usher.v1.RunScopedQueryRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RunScopedQueryResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRunScopedQueryMethod(), responseObserver);
    }

    /**
     * <pre>
     * StreamScopedQuery runs one reading statement and sends its rows in chunks, as fast as the caller takes
     * them. May be called by any data caller.
     * </pre>
     */
    default void streamScopedQuery(dev.usher.v1.StreamScopedQueryRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.StreamScopedQueryResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStreamScopedQueryMethod(), responseObserver);
    }

    /**
     * <pre>
     * RunScopedTransaction runs several statements in one transaction: all of them, or none. May be called by
     * any data caller.
     * </pre>
     */
    default void runScopedTransaction(dev.usher.v1.RunScopedTransactionRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RunScopedTransactionResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRunScopedTransactionMethod(), responseObserver);
    }

    /**
     * <pre>
     * WhoAmI answers what Postgres itself sees in a scope: the first question when rows are missing.
     * May be called by any data caller.
     * </pre>
     */
    default void whoAmI(dev.usher.v1.WhoAmIRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.WhoAmIResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWhoAmIMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service QueryService.
   * <pre>
   * QueryService runs SQL on Postgres as an end user: row-level security decides which rows exist.
   * </pre>
   */
  public static abstract class QueryServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return QueryServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service QueryService.
   * <pre>
   * QueryService runs SQL on Postgres as an end user: row-level security decides which rows exist.
   * </pre>
   */
  public static final class QueryServiceStub
      extends io.grpc.stub.AbstractAsyncStub<QueryServiceStub> {
    private QueryServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected QueryServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new QueryServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * RunScopedQuery runs one statement in a transaction of its own. May be called by any data caller.
     * </pre>
     */
    public void runScopedQuery(dev.usher.v1.RunScopedQueryRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RunScopedQueryResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRunScopedQueryMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * StreamScopedQuery runs one reading statement and sends its rows in chunks, as fast as the caller takes
     * them. May be called by any data caller.
     * </pre>
     */
    public void streamScopedQuery(dev.usher.v1.StreamScopedQueryRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.StreamScopedQueryResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getStreamScopedQueryMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * RunScopedTransaction runs several statements in one transaction: all of them, or none. May be called by
     * any data caller.
     * </pre>
     */
    public void runScopedTransaction(dev.usher.v1.RunScopedTransactionRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RunScopedTransactionResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRunScopedTransactionMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * WhoAmI answers what Postgres itself sees in a scope: the first question when rows are missing.
     * May be called by any data caller.
     * </pre>
     */
    public void whoAmI(dev.usher.v1.WhoAmIRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.WhoAmIResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getWhoAmIMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service QueryService.
   * <pre>
   * QueryService runs SQL on Postgres as an end user: row-level security decides which rows exist.
   * </pre>
   */
  public static final class QueryServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<QueryServiceBlockingV2Stub> {
    private QueryServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected QueryServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new QueryServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * RunScopedQuery runs one statement in a transaction of its own. May be called by any data caller.
     * </pre>
     */
    public dev.usher.v1.RunScopedQueryResponse runScopedQuery(dev.usher.v1.RunScopedQueryRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRunScopedQueryMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * StreamScopedQuery runs one reading statement and sends its rows in chunks, as fast as the caller takes
     * them. May be called by any data caller.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, dev.usher.v1.StreamScopedQueryResponse>
        streamScopedQuery(dev.usher.v1.StreamScopedQueryRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getStreamScopedQueryMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RunScopedTransaction runs several statements in one transaction: all of them, or none. May be called by
     * any data caller.
     * </pre>
     */
    public dev.usher.v1.RunScopedTransactionResponse runScopedTransaction(dev.usher.v1.RunScopedTransactionRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRunScopedTransactionMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WhoAmI answers what Postgres itself sees in a scope: the first question when rows are missing.
     * May be called by any data caller.
     * </pre>
     */
    public dev.usher.v1.WhoAmIResponse whoAmI(dev.usher.v1.WhoAmIRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getWhoAmIMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service QueryService.
   * <pre>
   * QueryService runs SQL on Postgres as an end user: row-level security decides which rows exist.
   * </pre>
   */
  public static final class QueryServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<QueryServiceBlockingStub> {
    private QueryServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected QueryServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new QueryServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * RunScopedQuery runs one statement in a transaction of its own. May be called by any data caller.
     * </pre>
     */
    public dev.usher.v1.RunScopedQueryResponse runScopedQuery(dev.usher.v1.RunScopedQueryRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRunScopedQueryMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * StreamScopedQuery runs one reading statement and sends its rows in chunks, as fast as the caller takes
     * them. May be called by any data caller.
     * </pre>
     */
    public java.util.Iterator<dev.usher.v1.StreamScopedQueryResponse> streamScopedQuery(
        dev.usher.v1.StreamScopedQueryRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getStreamScopedQueryMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RunScopedTransaction runs several statements in one transaction: all of them, or none. May be called by
     * any data caller.
     * </pre>
     */
    public dev.usher.v1.RunScopedTransactionResponse runScopedTransaction(dev.usher.v1.RunScopedTransactionRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRunScopedTransactionMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WhoAmI answers what Postgres itself sees in a scope: the first question when rows are missing.
     * May be called by any data caller.
     * </pre>
     */
    public dev.usher.v1.WhoAmIResponse whoAmI(dev.usher.v1.WhoAmIRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getWhoAmIMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service QueryService.
   * <pre>
   * QueryService runs SQL on Postgres as an end user: row-level security decides which rows exist.
   * </pre>
   */
  public static final class QueryServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<QueryServiceFutureStub> {
    private QueryServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected QueryServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new QueryServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * RunScopedQuery runs one statement in a transaction of its own. May be called by any data caller.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.RunScopedQueryResponse> runScopedQuery(
        dev.usher.v1.RunScopedQueryRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRunScopedQueryMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * RunScopedTransaction runs several statements in one transaction: all of them, or none. May be called by
     * any data caller.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.RunScopedTransactionResponse> runScopedTransaction(
        dev.usher.v1.RunScopedTransactionRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRunScopedTransactionMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * WhoAmI answers what Postgres itself sees in a scope: the first question when rows are missing.
     * May be called by any data caller.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.WhoAmIResponse> whoAmI(
        dev.usher.v1.WhoAmIRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getWhoAmIMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_RUN_SCOPED_QUERY = 0;
  private static final int METHODID_STREAM_SCOPED_QUERY = 1;
  private static final int METHODID_RUN_SCOPED_TRANSACTION = 2;
  private static final int METHODID_WHO_AM_I = 3;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_RUN_SCOPED_QUERY:
          serviceImpl.runScopedQuery((dev.usher.v1.RunScopedQueryRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.RunScopedQueryResponse>) responseObserver);
          break;
        case METHODID_STREAM_SCOPED_QUERY:
          serviceImpl.streamScopedQuery((dev.usher.v1.StreamScopedQueryRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.StreamScopedQueryResponse>) responseObserver);
          break;
        case METHODID_RUN_SCOPED_TRANSACTION:
          serviceImpl.runScopedTransaction((dev.usher.v1.RunScopedTransactionRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.RunScopedTransactionResponse>) responseObserver);
          break;
        case METHODID_WHO_AM_I:
          serviceImpl.whoAmI((dev.usher.v1.WhoAmIRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.WhoAmIResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getRunScopedQueryMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.RunScopedQueryRequest,
              dev.usher.v1.RunScopedQueryResponse>(
                service, METHODID_RUN_SCOPED_QUERY)))
        .addMethod(
          getStreamScopedQueryMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              dev.usher.v1.StreamScopedQueryRequest,
              dev.usher.v1.StreamScopedQueryResponse>(
                service, METHODID_STREAM_SCOPED_QUERY)))
        .addMethod(
          getRunScopedTransactionMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.RunScopedTransactionRequest,
              dev.usher.v1.RunScopedTransactionResponse>(
                service, METHODID_RUN_SCOPED_TRANSACTION)))
        .addMethod(
          getWhoAmIMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.WhoAmIRequest,
              dev.usher.v1.WhoAmIResponse>(
                service, METHODID_WHO_AM_I)))
        .build();
  }

  private static abstract class QueryServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    QueryServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.usher.v1.QueryServiceOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("QueryService");
    }
  }

  private static final class QueryServiceFileDescriptorSupplier
      extends QueryServiceBaseDescriptorSupplier {
    QueryServiceFileDescriptorSupplier() {}
  }

  private static final class QueryServiceMethodDescriptorSupplier
      extends QueryServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    QueryServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (QueryServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new QueryServiceFileDescriptorSupplier())
              .addMethod(getRunScopedQueryMethod())
              .addMethod(getStreamScopedQueryMethod())
              .addMethod(getRunScopedTransactionMethod())
              .addMethod(getWhoAmIMethod())
              .build();
        }
      }
    }
    return result;
  }
}
