import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsAsyncClientBuilder;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.common.StreamConfig;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.coordinator.WorkerStateChangeListener;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.metrics.MetricsConfig;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.FormerStreamsLeasesDeletionStrategy;
import software.amazon.kinesis.processor.MultiStreamTracker;
import software.amazon.kinesis.processor.ProcessorConfig;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.processor.StreamTracker;
import software.amazon.kinesis.retrieval.RetrievalConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * One worker of an application, with the KCL: prints a line of JSON for everything that happens, stops gracefully when told to by a
 * line {@code stop} or a SIGTERM, and dies with whoever holds the other end of its standard input.
 *
 * <p>Arguments are {@code name=value}: kinesis, dynamodb (endpoints), application, streams (one name, or several identifiers with
 * commas between them), worker, failoverMs, and optionally clientVersion (a constant of the KCL 3's ClientVersionConfig), cpu (a load
 * in per cent, to be told instead of nothing) and retrieval (fanOut, the KCL's own default, instead of polling).
 */
public final class Worker {
  public static void main(String[] args) throws Exception {
    Map<String, String> given = new HashMap<>();
    for (String arg : args) {
      String[] parts = arg.split("=", 2);
      given.put(parts[0], parts[1]);
    }
    Events.nameWorker(given.get("worker"));
    Commands commands = new Commands();
    Scheduler scheduler = scheduler(given, commands);
    Thread running = new Thread(scheduler, "scheduler");
    Thread stopping = new Thread(() -> stop(scheduler, running), "stopping");
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(scheduler, running)));
    running.start();
    Thread listening = new Thread(() -> listen(commands, stopping), "listening");
    listening.setDaemon(true);
    listening.start();
    running.join();
    Events.print("stopped");
    System.exit(0);
  }

  private static void listen(Commands commands, Thread stopping) {
    try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        if (line.equals("stop")) stopping.start();
        else commands.accept(line);
      }
    } catch (IOException closed) {
      // The same as its end.
    }
    if (!stopping.isAlive()) Runtime.getRuntime().halt(3);
  }

  private static void stop(Scheduler scheduler, Thread running) {
    if (!running.isAlive()) return;
    try {
      scheduler.startGracefulShutdown().get(60, TimeUnit.SECONDS);
      running.join();
    } catch (Exception failed) {
      failed.printStackTrace();
      Runtime.getRuntime().halt(4);
    }
  }

  private static Scheduler scheduler(Map<String, String> given, Commands commands) throws Exception {
    StreamTracker streams = streams(given.get("streams").split(","));
    long failoverMs = Long.parseLong(given.get("failoverMs"));
    boolean isFanOut = "fanOut".equals(given.get("retrieval"));
    KinesisAsyncClient kinesis =
        isFanOut
            // The KCL's own settings, HTTP/2 among them.
            ? KinesisClientUtil.createKinesisAsyncClient(at(KinesisAsyncClient.builder(), given.get("kinesis")))
            : client(KinesisAsyncClient.builder(), given.get("kinesis"));
    DynamoDbAsyncClient dynamodb = client(DynamoDbAsyncClient.builder(), given.get("dynamodb"));
    // Metrics are off; nobody listens there.
    CloudWatchAsyncClient cloudwatch = client(CloudWatchAsyncClient.builder(), "http://127.0.0.1:9");
    ConfigsBuilder configs =
        new ConfigsBuilder(
            streams,
            given.get("application"),
            kinesis,
            dynamodb,
            cloudwatch,
            given.get("worker"),
            new ShardRecordProcessorFactory() {
              @Override
              public ShardRecordProcessor shardRecordProcessor() {
                throw new UnsupportedOperationException("of which stream?");
              }

              @Override
              public ShardRecordProcessor shardRecordProcessor(StreamIdentifier stream) {
                return new Processor(commands, stream.streamName());
              }
            });

    CoordinatorConfig coordinator =
        configs
            .coordinatorConfig()
            .parentShardPollIntervalMillis(500)
            .shardConsumerDispatchPollIntervalMillis(200)
            .workerStateChangeListener(
                new WorkerStateChangeListener() {
                  @Override
                  public void onWorkerStateChange(WorkerState state) {
                    if (state == WorkerState.STARTED) Events.print("ready");
                  }

                  @Override
                  public void onAllInitializationAttemptsFailed(Throwable cause) {
                    cause.printStackTrace();
                    Runtime.getRuntime().halt(5);
                  }
                });
    if (given.containsKey("clientVersion")) {
      Class<?> type = Class.forName(CoordinatorConfig.class.getName() + "$ClientVersionConfig");
      for (Object constant : type.getEnumConstants()) {
        if (constant.toString().equals(given.get("clientVersion"))) set(coordinator, "clientVersionConfig", constant);
      }
    }

    LeaseManagementConfig leases =
        configs
            .leaseManagementConfig()
            .failoverTimeMillis(failoverMs)
            // How long the first worker of an application sleeps after it has made the leases: by default a minute.
            .shardSyncIntervalMillis(100)
            .leasesRecoveryAuditorExecutionFrequencyMillis(5_000L)
            .metricsFactory(new NullMetricsFactory());
    // These came with the KCL 3.
    set(leases, "leaseAssignmentIntervalMillis", failoverMs);
    set(leases, "dynamoDbLockBasedLeaderLeaseDurationInMillis", 2 * failoverMs);
    set(leases, "dynamoDbLockBasedLeaderHeartbeatPeriodInMillis", failoverMs / 2);
    Object utilization = get(leases, "workerUtilizationAwareAssignmentConfig");
    set(utilization, "inMemoryWorkerMetricsCaptureFrequencyMillis", 500L);
    set(utilization, "workerMetricsReporterFreqInMillis", failoverMs);
    set(utilization, "varianceBalancingFrequency", 1);
    if (given.containsKey("cpu")) {
      Object load = Class.forName("CpuLoad").getConstructor(double.class).newInstance(Double.parseDouble(given.get("cpu")));
      set(utilization, "workerMetricList", List.of(load));
    }

    RetrievalConfig retrieval = configs.retrievalConfig();
    if (!isFanOut) {
      PollingConfig polling = new PollingConfig(kinesis).idleTimeBetweenReadsInMillis(250);
      if (!streams.isMultiStream()) polling.streamName(given.get("streams"));
      retrieval.retrievalSpecificConfig(polling);
    }
    MetricsConfig metrics = configs.metricsConfig().metricsFactory(new NullMetricsFactory());
    ProcessorConfig processor = configs.processorConfig();
    return new Scheduler(
        configs.checkpointConfig(), coordinator, leases, configs.lifecycleConfig(), metrics, processor, retrieval);
  }

  /** One stream by its name, or several by their identifiers. */
  private static StreamTracker streams(String[] names) {
    InitialPositionInStreamExtended position =
        InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
    if (names.length == 1) return new SingleStreamTracker(names[0], position);
    List<StreamConfig> configs =
        Arrays.stream(names).map(name -> new StreamConfig(StreamIdentifier.multiStreamInstance(name), position)).toList();
    return new MultiStreamTracker() {
      @Override
      public List<StreamConfig> streamConfigList() {
        return configs;
      }

      @Override
      public FormerStreamsLeasesDeletionStrategy formerStreamsLeasesDeletionStrategy() {
        return new FormerStreamsLeasesDeletionStrategy.NoLeaseDeletionStrategy();
      }
    };
  }

  private static <B extends AwsClientBuilder<B, C> & AwsAsyncClientBuilder<B, C>, C> C client(B builder, String endpoint) {
    return at(builder, endpoint)
        .httpClientBuilder(
            NettyNioAsyncHttpClient.builder()
                .protocol(Protocol.HTTP1_1)
                .maxConcurrency(100)
                .connectionAcquisitionTimeout(Duration.ofSeconds(30)))
        .build();
  }

  private static <B extends AwsClientBuilder<B, C>, C> B at(B builder, String endpoint) {
    return builder
        .endpointOverride(URI.create(endpoint))
        .region(Region.US_EAST_1)
        .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local")));
  }

  private static Object get(Object from, String name) throws ReflectiveOperationException {
    for (Method method : methods(from, name, 0)) return method.invoke(from);
    return null;
  }

  /** Sets what this release of the KCL knows. */
  private static void set(Object on, String name, Object value) throws ReflectiveOperationException {
    for (Method method : methods(on, name, 1)) {
      method.invoke(on, value);
      return;
    }
    System.err.println("this KCL has no setting " + name);
  }

  private static List<Method> methods(Object of, String name, int parameters) {
    if (of == null) return List.of();
    return Arrays.stream(of.getClass().getMethods())
        .filter(method -> method.getName().equals(name) && method.getParameterCount() == parameters)
        .toList();
  }

  private Worker() {}
}
