import java.util.*;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.metrics.*;
import org.apache.kafka.common.metrics.stats.*;
import org.apache.kafka.common.utils.*;
/** Feeds random numbers at random times to Kafka's own statistics, and prints what they say. */
public class MetricsOracle {
  static MetricName n(String s){ return new MetricName(s,"g","",Map.of()); }
  public static void main(String[] a) throws Exception {
    Random r = new Random(20261122);
    for (int run=0; run<12; run++) {
      long window = new long[]{1000, 30000, 500}[run%3]; int samples = 1 + r.nextInt(4);
      MetricConfig c = new MetricConfig().timeWindow(window, TimeUnit.MILLISECONDS).samples(samples);
      Metrics m = new Metrics(c);
      Sensor s = m.sensor("s", c);
      Rate rate=new Rate(); Rate cr=new Rate(new WindowedCount()); Avg avg=new Avg(); Max max=new Max(); Min min=new Min(); CumulativeSum sum=new CumulativeSum(); CumulativeCount cnt=new CumulativeCount();
      s.add(n("rate"),rate); s.add(n("cr"),cr); s.add(n("avg"),avg); s.add(n("max"),max); s.add(n("min"),min); s.add(n("sum"),sum); s.add(n("cnt"),cnt);
      System.out.println("W "+window+" "+samples);
      long now=1_000_000;
      for (int i=0;i<80;i++) {
        now += r.nextInt(4)==0 ? r.nextInt((int)(window*3)) : r.nextInt((int)(window/4));
        // A look before the first number begins a sample of rates, and none of averages.
        if (i==0 || r.nextInt(3)>0) { double v=r.nextInt(1000); s.record(v, now); System.out.println("R "+(now-1_000_000)+" "+v); }
        else {
          StringBuilder b=new StringBuilder("M "+(now-1_000_000));
          for (Measurable x : new Measurable[]{rate,cr,avg,max,min,sum,cnt}) b.append(' ').append(x.measure(c,now));
          System.out.println(b);
        }
      }
      m.close();
    }
  }
}
