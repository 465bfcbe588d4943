package dev.usher.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * RevocationService keeps the deny list: tokens that are refused before they expire. It is served on the
 * admin gRPC address only. Every method needs an admin caller.
 * A revoked token is refused by VerifyToken and as a scope; a revoked subject also when it is named directly,
 * and no token is issued for it. A verifier that does not ask Usher accepts a token until it expires.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class RevocationServiceGrpc {

  private RevocationServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "usher.v1.RevocationService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.RevokeTokensRequest,
      dev.usher.v1.RevokeTokensResponse> getRevokeTokensMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RevokeTokens",
      requestType = dev.usher.v1.RevokeTokensRequest.class,
      responseType = dev.usher.v1.RevokeTokensResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.RevokeTokensRequest,
      dev.usher.v1.RevokeTokensResponse> getRevokeTokensMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.RevokeTokensRequest, dev.usher.v1.RevokeTokensResponse> getRevokeTokensMethod;
    if ((getRevokeTokensMethod = RevocationServiceGrpc.getRevokeTokensMethod) == null) {
      synchronized (RevocationServiceGrpc.class) {
        if ((getRevokeTokensMethod = RevocationServiceGrpc.getRevokeTokensMethod) == null) {
          RevocationServiceGrpc.getRevokeTokensMethod = getRevokeTokensMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.RevokeTokensRequest, dev.usher.v1.RevokeTokensResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RevokeTokens"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RevokeTokensRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RevokeTokensResponse.getDefaultInstance()))
              .setSchemaDescriptor(new RevocationServiceMethodDescriptorSupplier("RevokeTokens"))
              .build();
        }
      }
    }
    return getRevokeTokensMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.ListRevocationsRequest,
      dev.usher.v1.ListRevocationsResponse> getListRevocationsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListRevocations",
      requestType = dev.usher.v1.ListRevocationsRequest.class,
      responseType = dev.usher.v1.ListRevocationsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.ListRevocationsRequest,
      dev.usher.v1.ListRevocationsResponse> getListRevocationsMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.ListRevocationsRequest, dev.usher.v1.ListRevocationsResponse> getListRevocationsMethod;
    if ((getListRevocationsMethod = RevocationServiceGrpc.getListRevocationsMethod) == null) {
      synchronized (RevocationServiceGrpc.class) {
        if ((getListRevocationsMethod = RevocationServiceGrpc.getListRevocationsMethod) == null) {
          RevocationServiceGrpc.getListRevocationsMethod = getListRevocationsMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.ListRevocationsRequest, dev.usher.v1.ListRevocationsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListRevocations"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.ListRevocationsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.ListRevocationsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new RevocationServiceMethodDescriptorSupplier("ListRevocations"))
              .build();
        }
      }
    }
    return getListRevocationsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.LiftRevocationRequest,
      dev.usher.v1.LiftRevocationResponse> getLiftRevocationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "LiftRevocation",
      requestType = dev.usher.v1.LiftRevocationRequest.class,
      responseType = dev.usher.v1.LiftRevocationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.LiftRevocationRequest,
      dev.usher.v1.LiftRevocationResponse> getLiftRevocationMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.LiftRevocationRequest, dev.usher.v1.LiftRevocationResponse> getLiftRevocationMethod;
    if ((getLiftRevocationMethod = RevocationServiceGrpc.getLiftRevocationMethod) == null) {
      synchronized (RevocationServiceGrpc.class) {
        if ((getLiftRevocationMethod = RevocationServiceGrpc.getLiftRevocationMethod) == null) {
          RevocationServiceGrpc.getLiftRevocationMethod = getLiftRevocationMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.LiftRevocationRequest, dev.usher.v1.LiftRevocationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "LiftRevocation"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.LiftRevocationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.LiftRevocationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new RevocationServiceMethodDescriptorSupplier("LiftRevocation"))
              .build();
        }
      }
    }
    return getLiftRevocationMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static RevocationServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RevocationServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RevocationServiceStub>() {
        @java.lang.Override
        public RevocationServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RevocationServiceStub(channel, callOptions);
        }
      };
    return RevocationServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static RevocationServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RevocationServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RevocationServiceBlockingV2Stub>() {
        @java.lang.Override
        public RevocationServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RevocationServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return RevocationServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static RevocationServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RevocationServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RevocationServiceBlockingStub>() {
        @java.lang.Override
        public RevocationServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RevocationServiceBlockingStub(channel, callOptions);
        }
      };
    return RevocationServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static RevocationServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<RevocationServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<RevocationServiceFutureStub>() {
        @java.lang.Override
        public RevocationServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new RevocationServiceFutureStub(channel, callOptions);
        }
      };
    return RevocationServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * RevocationService keeps the deny list: tokens that are refused before they expire. It is served on the
   * admin gRPC address only. Every method needs an admin caller.
   * A revoked token is refused by VerifyToken and as a scope; a revoked subject also when it is named directly,
   * and no token is issued for it. A verifier that does not ask Usher accepts a token until it expires.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * RevokeTokens adds an entry. It is in force here when the answer arrives, elsewhere soon after.
     * </pre>
     */
    default void revokeTokens(dev.usher.v1.RevokeTokensRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RevokeTokensResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRevokeTokensMethod(), responseObserver);
    }

    /**
     * <pre>
     * ListRevocations returns the entries in force, the newest first.
     * </pre>
     */
    default void listRevocations(dev.usher.v1.ListRevocationsRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.ListRevocationsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListRevocationsMethod(), responseObserver);
    }

    /**
     * <pre>
     * LiftRevocation removes an entry before it is over. What expired meanwhile stays expired.
     * </pre>
     */
    default void liftRevocation(dev.usher.v1.LiftRevocationRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.LiftRevocationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getLiftRevocationMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service RevocationService.
   * <pre>
   * RevocationService keeps the deny list: tokens that are refused before they expire. It is served on the
   * admin gRPC address only. Every method needs an admin caller.
   * A revoked token is refused by VerifyToken and as a scope; a revoked subject also when it is named directly,
   * and no token is issued for it. A verifier that does not ask Usher accepts a token until it expires.
   * </pre>
   */
  public static abstract class RevocationServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return RevocationServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service RevocationService.
   * <pre>
   * RevocationService keeps the deny list: tokens that are refused before they expire. It is served on the
   * admin gRPC address only. Every method needs an admin caller.
   * A revoked token is refused by VerifyToken and as a scope; a revoked subject also when it is named directly,
   * and no token is issued for it. A verifier that does not ask Usher accepts a token until it expires.
   * </pre>
   */
  public static final class RevocationServiceStub
      extends io.grpc.stub.AbstractAsyncStub<RevocationServiceStub> {
    private RevocationServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RevocationServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RevocationServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * RevokeTokens adds an entry. It is in force here when the answer arrives, elsewhere soon after.
     * </pre>
     */
    public void revokeTokens(dev.usher.v1.RevokeTokensRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RevokeTokensResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRevokeTokensMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ListRevocations returns the entries in force, the newest first.
     * </pre>
     */
    public void listRevocations(dev.usher.v1.ListRevocationsRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.ListRevocationsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListRevocationsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * LiftRevocation removes an entry before it is over. What expired meanwhile stays expired.
     * </pre>
     */
    public void liftRevocation(dev.usher.v1.LiftRevocationRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.LiftRevocationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getLiftRevocationMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service RevocationService.
   * <pre>
   * RevocationService keeps the deny list: tokens that are refused before they expire. It is served on the
   * admin gRPC address only. Every method needs an admin caller.
   * A revoked token is refused by VerifyToken and as a scope; a revoked subject also when it is named directly,
   * and no token is issued for it. A verifier that does not ask Usher accepts a token until it expires.
   * </pre>
   */
  public static final class RevocationServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<RevocationServiceBlockingV2Stub> {
    private RevocationServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RevocationServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RevocationServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * RevokeTokens adds an entry. It is in force here when the answer arrives, elsewhere soon after.
     * </pre>
     */
    public dev.usher.v1.RevokeTokensResponse revokeTokens(dev.usher.v1.RevokeTokensRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRevokeTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListRevocations returns the entries in force, the newest first.
     * </pre>
     */
    public dev.usher.v1.ListRevocationsResponse listRevocations(dev.usher.v1.ListRevocationsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListRevocationsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * LiftRevocation removes an entry before it is over. What expired meanwhile stays expired.
     * </pre>
     */
    public dev.usher.v1.LiftRevocationResponse liftRevocation(dev.usher.v1.LiftRevocationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getLiftRevocationMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service RevocationService.
   * <pre>
   * RevocationService keeps the deny list: tokens that are refused before they expire. It is served on the
   * admin gRPC address only. Every method needs an admin caller.
   * A revoked token is refused by VerifyToken and as a scope; a revoked subject also when it is named directly,
   * and no token is issued for it. A verifier that does not ask Usher accepts a token until it expires.
   * </pre>
   */
  public static final class RevocationServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<RevocationServiceBlockingStub> {
    private RevocationServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RevocationServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RevocationServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * RevokeTokens adds an entry. It is in force here when the answer arrives, elsewhere soon after.
     * </pre>
     */
    public dev.usher.v1.RevokeTokensResponse revokeTokens(dev.usher.v1.RevokeTokensRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRevokeTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListRevocations returns the entries in force, the newest first.
     * </pre>
     */
    public dev.usher.v1.ListRevocationsResponse listRevocations(dev.usher.v1.ListRevocationsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListRevocationsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * LiftRevocation removes an entry before it is over. What expired meanwhile stays expired.
     * </pre>
     */
    public dev.usher.v1.LiftRevocationResponse liftRevocation(dev.usher.v1.LiftRevocationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getLiftRevocationMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service RevocationService.
   * <pre>
   * RevocationService keeps the deny list: tokens that are refused before they expire. It is served on the
   * admin gRPC address only. Every method needs an admin caller.
   * A revoked token is refused by VerifyToken and as a scope; a revoked subject also when it is named directly,
   * and no token is issued for it. A verifier that does not ask Usher accepts a token until it expires.
   * </pre>
   */
  public static final class RevocationServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<RevocationServiceFutureStub> {
    private RevocationServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected RevocationServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new RevocationServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * RevokeTokens adds an entry. It is in force here when the answer arrives, elsewhere soon after.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.RevokeTokensResponse> revokeTokens(
        dev.usher.v1.RevokeTokensRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRevokeTokensMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ListRevocations returns the entries in force, the newest first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.ListRevocationsResponse> listRevocations(
        dev.usher.v1.ListRevocationsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListRevocationsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * LiftRevocation removes an entry before it is over. What expired meanwhile stays expired.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.LiftRevocationResponse> liftRevocation(
        dev.usher.v1.LiftRevocationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getLiftRevocationMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_REVOKE_TOKENS = 0;
  private static final int METHODID_LIST_REVOCATIONS = 1;
  private static final int METHODID_LIFT_REVOCATION = 2;

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
        case METHODID_REVOKE_TOKENS:
          serviceImpl.revokeTokens((dev.usher.v1.RevokeTokensRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.RevokeTokensResponse>) responseObserver);
          break;
        case METHODID_LIST_REVOCATIONS:
          serviceImpl.listRevocations((dev.usher.v1.ListRevocationsRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.ListRevocationsResponse>) responseObserver);
          break;
        case METHODID_LIFT_REVOCATION:
          serviceImpl.liftRevocation((dev.usher.v1.LiftRevocationRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.LiftRevocationResponse>) responseObserver);
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
          getRevokeTokensMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.RevokeTokensRequest,
              dev.usher.v1.RevokeTokensResponse>(
                service, METHODID_REVOKE_TOKENS)))
        .addMethod(
          getListRevocationsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.ListRevocationsRequest,
              dev.usher.v1.ListRevocationsResponse>(
                service, METHODID_LIST_REVOCATIONS)))
        .addMethod(
          getLiftRevocationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.LiftRevocationRequest,
              dev.usher.v1.LiftRevocationResponse>(
                service, METHODID_LIFT_REVOCATION)))
        .build();
  }

  private static abstract class RevocationServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    RevocationServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.usher.v1.RevocationServiceOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("RevocationService");
    }
  }

  private static final class RevocationServiceFileDescriptorSupplier
      extends RevocationServiceBaseDescriptorSupplier {
    RevocationServiceFileDescriptorSupplier() {}
  }

  private static final class RevocationServiceMethodDescriptorSupplier
      extends RevocationServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    RevocationServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (RevocationServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new RevocationServiceFileDescriptorSupplier())
              .addMethod(getRevokeTokensMethod())
              .addMethod(getListRevocationsMethod())
              .addMethod(getLiftRevocationMethod())
              .build();
        }
      }
    }
    return result;
  }
}
