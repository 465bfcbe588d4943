package dev.usher.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * KeyService looks after the signing keys. It is served on the admin gRPC address only. Every method
 * needs an admin caller.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class KeyServiceGrpc {

  private KeyServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "usher.v1.KeyService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.ListKeysRequest,
      dev.usher.v1.ListKeysResponse> getListKeysMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListKeys",
      requestType = dev.usher.v1.ListKeysRequest.class,
      responseType = dev.usher.v1.ListKeysResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.ListKeysRequest,
      dev.usher.v1.ListKeysResponse> getListKeysMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.ListKeysRequest, dev.usher.v1.ListKeysResponse> getListKeysMethod;
    if ((getListKeysMethod = KeyServiceGrpc.getListKeysMethod) == null) {
      synchronized (KeyServiceGrpc.class) {
        if ((getListKeysMethod = KeyServiceGrpc.getListKeysMethod) == null) {
          KeyServiceGrpc.getListKeysMethod = getListKeysMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.ListKeysRequest, dev.usher.v1.ListKeysResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListKeys"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.ListKeysRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.ListKeysResponse.getDefaultInstance()))
              .setSchemaDescriptor(new KeyServiceMethodDescriptorSupplier("ListKeys"))
              .build();
        }
      }
    }
    return getListKeysMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.RotateKeysRequest,
      dev.usher.v1.RotateKeysResponse> getRotateKeysMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RotateKeys",
      requestType = dev.usher.v1.RotateKeysRequest.class,
      responseType = dev.usher.v1.RotateKeysResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.RotateKeysRequest,
      dev.usher.v1.RotateKeysResponse> getRotateKeysMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.RotateKeysRequest, dev.usher.v1.RotateKeysResponse> getRotateKeysMethod;
    if ((getRotateKeysMethod = KeyServiceGrpc.getRotateKeysMethod) == null) {
      synchronized (KeyServiceGrpc.class) {
        if ((getRotateKeysMethod = KeyServiceGrpc.getRotateKeysMethod) == null) {
          KeyServiceGrpc.getRotateKeysMethod = getRotateKeysMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.RotateKeysRequest, dev.usher.v1.RotateKeysResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RotateKeys"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RotateKeysRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RotateKeysResponse.getDefaultInstance()))
              .setSchemaDescriptor(new KeyServiceMethodDescriptorSupplier("RotateKeys"))
              .build();
        }
      }
    }
    return getRotateKeysMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.usher.v1.RevokeKeyRequest,
      dev.usher.v1.RevokeKeyResponse> getRevokeKeyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RevokeKey",
      requestType = dev.usher.v1.RevokeKeyRequest.class,
      responseType = dev.usher.v1.RevokeKeyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.usher.v1.RevokeKeyRequest,
      dev.usher.v1.RevokeKeyResponse> getRevokeKeyMethod() {
    io.grpc.MethodDescriptor<dev.usher.v1.RevokeKeyRequest, dev.usher.v1.RevokeKeyResponse> getRevokeKeyMethod;
    if ((getRevokeKeyMethod = KeyServiceGrpc.getRevokeKeyMethod) == null) {
      synchronized (KeyServiceGrpc.class) {
        if ((getRevokeKeyMethod = KeyServiceGrpc.getRevokeKeyMethod) == null) {
          KeyServiceGrpc.getRevokeKeyMethod = getRevokeKeyMethod =
              io.grpc.MethodDescriptor.<dev.usher.v1.RevokeKeyRequest, dev.usher.v1.RevokeKeyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RevokeKey"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RevokeKeyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.usher.v1.RevokeKeyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new KeyServiceMethodDescriptorSupplier("RevokeKey"))
              .build();
        }
      }
    }
    return getRevokeKeyMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static KeyServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<KeyServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<KeyServiceStub>() {
        @java.lang.Override
        public KeyServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new KeyServiceStub(channel, callOptions);
        }
      };
    return KeyServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static KeyServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<KeyServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<KeyServiceBlockingV2Stub>() {
        @java.lang.Override
        public KeyServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new KeyServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return KeyServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static KeyServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<KeyServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<KeyServiceBlockingStub>() {
        @java.lang.Override
        public KeyServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new KeyServiceBlockingStub(channel, callOptions);
        }
      };
    return KeyServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static KeyServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<KeyServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<KeyServiceFutureStub>() {
        @java.lang.Override
        public KeyServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new KeyServiceFutureStub(channel, callOptions);
        }
      };
    return KeyServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * KeyService looks after the signing keys. It is served on the admin gRPC address only. Every method
   * needs an admin caller.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * ListKeys returns every key that is not yet dropped, in the order of their creation, and what is known of
     * the replicas that serve them and of the verifiers that fetch them.
     * </pre>
     */
    default void listKeys(dev.usher.v1.ListKeysRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.ListKeysResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListKeysMethod(), responseObserver);
    }

    /**
     * <pre>
     * RotateKeys makes the prepared key sign now, if it has been published for the whole lead time.
     * </pre>
     */
    default void rotateKeys(dev.usher.v1.RotateKeysRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RotateKeysResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRotateKeysMethod(), responseObserver);
    }

    /**
     * <pre>
     * RevokeKey takes a key out of the set of every replica, at once or after a delay, for an emergency.
     * </pre>
     */
    default void revokeKey(dev.usher.v1.RevokeKeyRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RevokeKeyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRevokeKeyMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service KeyService.
   * <pre>
   * KeyService looks after the signing keys. It is served on the admin gRPC address only. Every method
   * needs an admin caller.
   * </pre>
   */
  public static abstract class KeyServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return KeyServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service KeyService.
   * <pre>
   * KeyService looks after the signing keys. It is served on the admin gRPC address only. Every method
   * needs an admin caller.
   * </pre>
   */
  public static final class KeyServiceStub
      extends io.grpc.stub.AbstractAsyncStub<KeyServiceStub> {
    private KeyServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected KeyServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new KeyServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * ListKeys returns every key that is not yet dropped, in the order of their creation, and what is known of
     * the replicas that serve them and of the verifiers that fetch them.
     * </pre>
     */
    public void listKeys(dev.usher.v1.ListKeysRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.ListKeysResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListKeysMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * RotateKeys makes the prepared key sign now, if it has been published for the whole lead time.
     * </pre>
     */
    public void rotateKeys(dev.usher.v1.RotateKeysRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RotateKeysResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRotateKeysMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * RevokeKey takes a key out of the set of every replica, at once or after a delay, for an emergency.
     * </pre>
     */
    public void revokeKey(dev.usher.v1.RevokeKeyRequest request,
        io.grpc.stub.StreamObserver<dev.usher.v1.RevokeKeyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRevokeKeyMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service KeyService.
   * <pre>
   * KeyService looks after the signing keys. It is served on the admin gRPC address only. Every method
   * needs an admin caller.
   * </pre>
   */
  public static final class KeyServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<KeyServiceBlockingV2Stub> {
    private KeyServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected KeyServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new KeyServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * ListKeys returns every key that is not yet dropped, in the order of their creation, and what is known of
     * the replicas that serve them and of the verifiers that fetch them.
     * </pre>
     */
    public dev.usher.v1.ListKeysResponse listKeys(dev.usher.v1.ListKeysRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RotateKeys makes the prepared key sign now, if it has been published for the whole lead time.
     * </pre>
     */
    public dev.usher.v1.RotateKeysResponse rotateKeys(dev.usher.v1.RotateKeysRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRotateKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RevokeKey takes a key out of the set of every replica, at once or after a delay, for an emergency.
     * </pre>
     */
    public dev.usher.v1.RevokeKeyResponse revokeKey(dev.usher.v1.RevokeKeyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRevokeKeyMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service KeyService.
   * <pre>
   * KeyService looks after the signing keys. It is served on the admin gRPC address only. Every method
   * needs an admin caller.
   * </pre>
   */
  public static final class KeyServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<KeyServiceBlockingStub> {
    private KeyServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected KeyServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new KeyServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * ListKeys returns every key that is not yet dropped, in the order of their creation, and what is known of
     * the replicas that serve them and of the verifiers that fetch them.
     * </pre>
     */
    public dev.usher.v1.ListKeysResponse listKeys(dev.usher.v1.ListKeysRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RotateKeys makes the prepared key sign now, if it has been published for the whole lead time.
     * </pre>
     */
    public dev.usher.v1.RotateKeysResponse rotateKeys(dev.usher.v1.RotateKeysRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRotateKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * RevokeKey takes a key out of the set of every replica, at once or after a delay, for an emergency.
     * </pre>
     */
    public dev.usher.v1.RevokeKeyResponse revokeKey(dev.usher.v1.RevokeKeyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRevokeKeyMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service KeyService.
   * <pre>
   * KeyService looks after the signing keys. It is served on the admin gRPC address only. Every method
   * needs an admin caller.
   * </pre>
   */
  public static final class KeyServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<KeyServiceFutureStub> {
    private KeyServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected KeyServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new KeyServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * ListKeys returns every key that is not yet dropped, in the order of their creation, and what is known of
     * the replicas that serve them and of the verifiers that fetch them.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.ListKeysResponse> listKeys(
        dev.usher.v1.ListKeysRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListKeysMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * RotateKeys makes the prepared key sign now, if it has been published for the whole lead time.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.RotateKeysResponse> rotateKeys(
        dev.usher.v1.RotateKeysRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRotateKeysMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * RevokeKey takes a key out of the set of every replica, at once or after a delay, for an emergency.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.usher.v1.RevokeKeyResponse> revokeKey(
        dev.usher.v1.RevokeKeyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRevokeKeyMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_LIST_KEYS = 0;
  private static final int METHODID_ROTATE_KEYS = 1;
  private static final int METHODID_REVOKE_KEY = 2;

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
        case METHODID_LIST_KEYS:
          serviceImpl.listKeys((dev.usher.v1.ListKeysRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.ListKeysResponse>) responseObserver);
          break;
        case METHODID_ROTATE_KEYS:
          serviceImpl.rotateKeys((dev.usher.v1.RotateKeysRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.RotateKeysResponse>) responseObserver);
          break;
        case METHODID_REVOKE_KEY:
          serviceImpl.revokeKey((dev.usher.v1.RevokeKeyRequest) request,
              (io.grpc.stub.StreamObserver<dev.usher.v1.RevokeKeyResponse>) responseObserver);
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
          getListKeysMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.ListKeysRequest,
              dev.usher.v1.ListKeysResponse>(
                service, METHODID_LIST_KEYS)))
        .addMethod(
          getRotateKeysMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.RotateKeysRequest,
              dev.usher.v1.RotateKeysResponse>(
                service, METHODID_ROTATE_KEYS)))
        .addMethod(
          getRevokeKeyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.usher.v1.RevokeKeyRequest,
              dev.usher.v1.RevokeKeyResponse>(
                service, METHODID_REVOKE_KEY)))
        .build();
  }

  private static abstract class KeyServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    KeyServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.usher.v1.KeyServiceOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("KeyService");
    }
  }

  private static final class KeyServiceFileDescriptorSupplier
      extends KeyServiceBaseDescriptorSupplier {
    KeyServiceFileDescriptorSupplier() {}
  }

  private static final class KeyServiceMethodDescriptorSupplier
      extends KeyServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    KeyServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (KeyServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new KeyServiceFileDescriptorSupplier())
              .addMethod(getListKeysMethod())
              .addMethod(getRotateKeysMethod())
              .addMethod(getRevokeKeyMethod())
              .build();
        }
      }
    }
    return result;
  }
}
