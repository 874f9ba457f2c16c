import java.nio.file.Files;
import java.nio.file.Path;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * The reference job on Flink over Kafka: sums per 5-minute window and category.
 *
 * <p>Usage: FlinkKafka BOOTSTRAP TOPIC CHECKPOINT. Runs the job twice in one process, cold and warm,
 * up to the topic's end, in a cluster inside this process. Prints one JSON object as its last line.
 * Processor time and memory are this process', as the kernel counts them.
 */
public final class FlinkKafka {
    private static final int CORES = Runtime.getRuntime().availableProcessors();
    /** Ticks of /proc a second. */
    private static final double TICKS = 100;

    private static TableEnvironment environment(String checkpoint) {
        Configuration settings = new Configuration();
        settings.setString("execution.target", "local");
        settings.setString("rest.address", "127.0.0.1");
        settings.setString("rest.bind-address", "127.0.0.1");
        settings.setString("rest.bind-port", "0");
        settings.setString("parallelism.default", Integer.toString(CORES));
        settings.setString("taskmanager.numberOfTaskSlots", Integer.toString(CORES));
        settings.setString("taskmanager.memory.managed.size", "512mb");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("state.backend.type", "hashmap");
        settings.setString("execution.checkpointing.interval", "2s");
        settings.setString("execution.checkpointing.dir", Path.of(checkpoint).toUri().toString());
        settings.setString("table.local-time-zone", "UTC");
        return TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
    }

    private static String run(String bootstrap, String topic, String checkpoint) throws Exception {
        TableEnvironment tables = environment(checkpoint);
        tables.executeSql(
                "CREATE TABLE orders (order_id STRING, user_id STRING, amount DOUBLE, category STRING,"
                        + " order_time TIMESTAMP_LTZ(3),"
                        + " WATERMARK FOR order_time AS order_time - INTERVAL '5' MINUTE) WITH ("
                        + " 'connector' = 'kafka', 'topic' = '" + topic + "',"
                        + " 'properties.bootstrap.servers' = '" + bootstrap + "',"
                        + " 'scan.startup.mode' = 'earliest-offset',"
                        + " 'scan.bounded.mode' = 'latest-offset',"
                        + " 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')");
        tables.executeSql(
                "CREATE TABLE revenue (window_start TIMESTAMP(3), category STRING, total_revenue DOUBLE)"
                        + " WITH ('connector' = 'blackhole')");
        double beginCpu = cpuSeconds();
        long begin = System.nanoTime();
        tables.executeSql(
                        "INSERT INTO revenue SELECT window_start, category, SUM(amount) FROM TABLE("
                                + "TUMBLE(TABLE orders, DESCRIPTOR(order_time), INTERVAL '5' MINUTES))"
                                + " GROUP BY window_start, window_end, category")
                .await();
        double wall = (System.nanoTime() - begin) / 1e9;
        return String.format(
                "{\"wall_s\": %.3f, \"cpu_s\": %.3f}", wall, cpuSeconds() - beginCpu);
    }

    private static double cpuSeconds() throws Exception {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return (Double.parseDouble(fields[11]) + Double.parseDouble(fields[12])) / TICKS;
    }

    private static double peakMib() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Double.parseDouble(line.split("\\s+")[1]) / 1024;
            }
        }
        throw new IllegalStateException("no VmHWM in /proc/self/status");
    }

    public static void main(String[] arguments) throws Exception {
        String cold = run(arguments[0], arguments[1], arguments[2]);
        String warm = run(arguments[0], arguments[1], arguments[2]);
        System.out.printf(
                "{\"cold\": %s, \"warm\": %s, \"peak_mib\": %.0f}%n", cold, warm, peakMib());
        System.exit(0);
    }
}
