import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

/** Prints every record of one shard, and checkpoints after each batch. */
final class Processor implements ShardRecordProcessor {
  private final Commands commands;
  private final String stream;
  private String shard;

  Processor(Commands commands, String stream) {
    this.commands = commands;
    this.stream = stream;
  }

  @Override
  public void initialize(InitializationInput input) {
    shard = input.shardId();
    ExtendedSequenceNumber from = input.extendedSequenceNumber();
    ExtendedSequenceNumber pending = input.pendingCheckpointSequenceNumber();
    byte[] state = input.pendingCheckpointState();
    print(
        "started",
        "sequence", from.sequenceNumber(),
        "sub", from.subSequenceNumber(),
        "pending", pending == null ? null : pending.sequenceNumber(),
        "pendingSub", pending == null ? null : pending.subSequenceNumber(),
        "state", state == null ? null : new String(state, StandardCharsets.UTF_8));
  }

  @Override
  public void processRecords(ProcessRecordsInput input) {
    if (input.records().isEmpty()) return;
    KinesisClientRecord last = null;
    for (KinesisClientRecord record : input.records()) {
      last = record;
      print(
          "record",
          "sequence", record.sequenceNumber(),
          "sub", record.subSequenceNumber(),
          "key", record.partitionKey(),
          "data", StandardCharsets.UTF_8.decode(record.data().duplicate()));
    }
    RecordProcessorCheckpointer checkpointer = input.checkpointer();
    try {
      if (commands.onlyPrepare()) {
        byte[] state = "half done".getBytes(StandardCharsets.UTF_8);
        checkpointer.prepareCheckpoint(last.sequenceNumber(), last.subSequenceNumber(), state);
        print("prepared", "sequence", last.sequenceNumber(), "sub", last.subSequenceNumber());
      } else {
        checkpointer.checkpoint(last.sequenceNumber(), last.subSequenceNumber());
      }
    } catch (ShutdownException lost) {
      print("checkpointRefused");
    } catch (InvalidStateException broken) {
      throw new IllegalStateException(broken);
    }
  }

  @Override
  public void leaseLost(LeaseLostInput input) {
    print("leaseLost");
  }

  @Override
  public void shardEnded(ShardEndedInput input) {
    checkpoint(input.checkpointer());
    print("shardEnded");
  }

  @Override
  public void shutdownRequested(ShutdownRequestedInput input) {
    // Everything delivered has been checkpointed, or is to stay prepared.
    if (!commands.onlyPrepare()) checkpoint(input.checkpointer());
    print("handedOff");
  }

  private void checkpoint(RecordProcessorCheckpointer checkpointer) {
    try {
      checkpointer.checkpoint();
    } catch (ShutdownException lost) {
      print("checkpointRefused");
    } catch (InvalidStateException broken) {
      throw new IllegalStateException(broken);
    }
  }

  private void print(String event, Object... fields) {
    Object[] all = Arrays.copyOf(new Object[] {"stream", stream, "shard", shard}, 4 + fields.length);
    System.arraycopy(fields, 0, all, 4, fields.length);
    Events.print(event, all);
  }
}
