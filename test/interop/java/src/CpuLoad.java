import software.amazon.kinesis.worker.metric.OperatingRange;
import software.amazon.kinesis.worker.metric.WorkerMetric;
import software.amazon.kinesis.worker.metric.WorkerMetricType;

/** What the KCL 3 tells of itself where it finds itself on EC2, with a load that never changes. */
public final class CpuLoad implements WorkerMetric {
  private final double load;

  public CpuLoad(double load) {
    this.load = load;
  }

  @Override
  public String getShortName() {
    return getWorkerMetricType().getShortName();
  }

  @Override
  public WorkerMetricType getWorkerMetricType() {
    return WorkerMetricType.CPU;
  }

  @Override
  public OperatingRange getOperatingRange() {
    return OperatingRange.builder().maxUtilization(100).build();
  }

  @Override
  public WorkerMetricValue capture() {
    return WorkerMetricValue.builder().value(load).build();
  }
}
