import java.nio.file.Files;
import java.nio.file.Path;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * The benchmark's jobs on Flink over Kafka, in a cluster inside this process.
 *
 * <p>FlinkKafka BOOTSTRAP TOPIC CHECKPOINT: the reference job, sums per 5-minute window and
 * category, twice in one process, cold and warm, up to the topic's end. Prints one JSON object as
 * its last line. Processor time and memory are this process', as the kernel counts them.
 *
 * <p>FlinkKafka BOOTSTRAP INPUT CHECKPOINT OUTPUT pass|updates: rows as they are, or sums as they
 * change, from topic to topic until the process is killed.
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

    /** Columns of the orders, each with the time at which it was sent. */
    private static final String SENT =
            "sent DOUBLE, order_id STRING, user_id STRING, amount DOUBLE, category STRING,"
                    + " order_time TIMESTAMP_LTZ(3)";

    /** The begin of an order's five minutes; a window function would give each sum once, at its end. */
    private static final String WINDOW =
            "FLOOR(CAST(order_time AS TIMESTAMP(3)) TO HOUR)"
                    + " + (EXTRACT(MINUTE FROM order_time) / 5) * INTERVAL '5' MINUTE";

    private static String topic(String columns, String connector, String bootstrap, String topic, String more) {
        return " (" + columns + ") WITH ('connector' = '" + connector + "', 'topic' = '" + topic + "',"
                + " 'properties.bootstrap.servers' = '" + bootstrap + "', " + more + ")";
    }

    private static void runLive(String bootstrap, String input, String checkpoint, String output, String job)
            throws Exception {
        TableEnvironment tables = environment(checkpoint);
        // For latency: neither the exchange between tasks nor the producer gathers rows.
        tables.getConfig().set("execution.buffer-timeout.interval", "1ms");
        String atOnce = "'properties.linger.ms' = '0', ";
        String earliest = "'scan.startup.mode' = 'earliest-offset', ";
        String rows;
        if (job.equals("pass")) {
            String raw = "'format' = 'raw'";
            tables.executeSql("CREATE TABLE i" + topic("row_text STRING", "kafka", bootstrap, input, earliest + raw));
            tables.executeSql("CREATE TABLE o" + topic("row_text STRING", "kafka", bootstrap, output, atOnce + raw));
            rows = "SELECT row_text FROM i";
        } else {
            String json = "'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'";
            tables.executeSql("CREATE TABLE i" + topic(SENT, "kafka", bootstrap, input, earliest + json));
            tables.executeSql(
                    "CREATE TABLE o"
                            + topic(
                                    "window_start TIMESTAMP(3), category STRING, total_revenue DOUBLE,"
                                            + " sent DOUBLE, PRIMARY KEY (window_start, category) NOT ENFORCED",
                                    "upsert-kafka",
                                    bootstrap,
                                    output,
                                    atOnce + "'key.format' = 'json', 'value.format' = 'json'"));
            rows = "SELECT w, category, SUM(amount), MAX(sent) FROM"
                    + " (SELECT " + WINDOW + " AS w, category, amount, sent FROM i) GROUP BY w, category";
        }
        tables.executeSql("INSERT INTO o " + rows).await();
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
        if (arguments.length > 3) {
            runLive(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
            return;
        }
        String cold = run(arguments[0], arguments[1], arguments[2]);
        String warm = run(arguments[0], arguments[1], arguments[2]);
        System.out.printf(
                "{\"cold\": %s, \"warm\": %s, \"peak_mib\": %.0f}%n", cold, warm, peakMib());
        System.exit(0);
    }
}
